//! What is stored, found again and kept while the server is away, against real servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    path::Path,
    process::{Command as Process, Stdio},
    sync::Arc,
    time::Duration,
};

use mcp_agent_sdk::{
    Agent, Client, Context, McpError, Name, Priority, Raw, TestBroker,
    runtime::{
        Command, Format, Namespace,
        persistence::{
            Envelope, JetStreamPersistence, MessagePersistence, MessageQuery, MessageState, Outbox,
            OutboxConfig, PersistenceError, Reference,
        },
    },
};
use mcp_tests::eventually;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn command(agent: &str, action: &str, priority: Priority) -> Command {
    let mut command = Command::new(name("test"), name(agent), name(action), Raw::empty_map());
    command.priority = priority;
    command
}

fn envelope(command: &Command) -> Envelope {
    Envelope::of_command(&Namespace::default(), command).unwrap()
}

async fn put_outcome(client: &Client, key: &str, record: serde_json::Value) -> TestResult {
    let body = Format::Msgpack.encode(&record)?;
    client
        .jetstream()
        .publish(format!("$KV.mcp_outcomes.{key}"), body)
        .await?
        .await?;
    Ok(())
}

fn done(id: &str, response: &serde_json::Value) -> serde_json::Value {
    json!({"state": "done", "command_id": id, "parameters_sha256": "", "owner": "i1", "errors": [], "response": response})
}

fn response(id: &str, outcome: &serde_json::Value) -> serde_json::Value {
    let mut frame = json!({
        "v": 1, "kind": "response", "id": id, "command_id": id, "source": "worker", "instance": "i1", "attempt": 2,
        "status": if outcome["error"].is_null() { "ok" } else { "error" },
    });
    frame
        .as_object_mut()
        .unwrap()
        .extend(outcome.as_object().unwrap().clone());
    frame
}

#[tokio::test]
async fn a_query_tells_queued_in_flight_done_and_dead_apart() -> TestResult {
    async fn hold(ctx: Context<Arc<Semaphore>>, _: serde_json::Value) -> Result<(), McpError> {
        let _permit = ctx.state().acquire().await?;
        Ok(())
    }
    async fn fail(_: Context<Arc<Semaphore>>, _: serde_json::Value) -> Result<(), McpError> {
        Err(McpError::permanent("BROKEN").message("for good"))
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let gate = Arc::new(Semaphore::new(0));
    let _agent = Agent::with_state("worker", Arc::clone(&gate))
        .on("hold", hold)
        .on("fail", fail)
        .start(&client)
        .await?;
    let store: Box<dyn MessagePersistence> = Box::new(JetStreamPersistence::new(&client));

    let held = command("worker", "hold", Priority::High);
    let failing = command("worker", "fail", Priority::Normal);
    let waiting = command("sleeper", "wake", Priority::Low);
    for command in [&held, &failing, &waiting] {
        let saved = store.save(envelope(command)).await?;
        assert_eq!(
            (saved.state, &saved.id),
            (MessageState::Queued, &command.id)
        );
    }
    let done_id = command("worker", "hold", Priority::High).id;
    put_outcome(
        &client,
        "worker.hold.abc",
        done(&done_id, &response(&done_id, &json!({"result": 7}))),
    )
    .await?;

    let state_of = async |id: &str| store.load(id).await.unwrap().map(|message| message.state);
    eventually("the letter", || async {
        state_of(&failing.id).await == Some(MessageState::Dead)
    })
    .await;
    eventually("the delivery", || async {
        state_of(&held.id).await == Some(MessageState::InFlight)
    })
    .await;
    assert_eq!(state_of(&waiting.id).await, Some(MessageState::Queued));
    assert_eq!(state_of(&done_id).await, Some(MessageState::Done));
    assert_eq!(state_of("0192f0c1-2b3c-7000-8000-000000000001").await, None);

    let all = store.query(MessageQuery::new()).await?.messages;
    let found: Vec<(&str, MessageState)> = all
        .iter()
        .map(|message| (message.id.as_str(), message.state))
        .collect();
    let expected = [
        (held.id.as_str(), MessageState::InFlight),
        (waiting.id.as_str(), MessageState::Queued),
        (done_id.as_str(), MessageState::Done),
        (failing.id.as_str(), MessageState::Dead),
    ];
    assert_eq!(found, expected);
    let dead = all.last().unwrap();
    assert_eq!(
        (dead.agent.as_str(), dead.action.as_str(), dead.lane),
        ("worker", "fail", Some(Priority::Normal))
    );
    assert_eq!(
        dead.error.as_ref().map(|error| error.code.as_str()),
        Some("BROKEN")
    );

    let count = async |query: MessageQuery| store.query(query).await.unwrap().messages.len();
    assert_eq!(count(MessageQuery::new().agent(name("worker"))).await, 3);
    assert_eq!(count(MessageQuery::new().action(name("hold"))).await, 2);
    assert_eq!(count(MessageQuery::new().lane(Priority::Low)).await, 1);
    assert_eq!(
        count(
            MessageQuery::new()
                .state(MessageState::Queued)
                .state(MessageState::Dead)
        )
        .await,
        2
    );
    assert_eq!(
        count(MessageQuery::new().older_than(Duration::from_secs(3600))).await,
        0
    );
    assert_eq!(
        count(MessageQuery::new().younger_than(Duration::from_secs(3600))).await,
        4
    );
    gate.add_permits(1);
    eventually("the acknowledgement", || async {
        state_of(&held.id).await.is_none()
    })
    .await;
    assert_eq!(store.stats().saved.succeeded, 3);
    Ok(())
}

#[tokio::test]
async fn pages_hold_every_message_once_and_in_order() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let store = JetStreamPersistence::new(&client);
    let mut expected = Vec::new();
    for number in 0..150 {
        let command = command("worker", "echo", Priority::ALL[number % 4]);
        let saved = store.save(envelope(&command)).await?;
        // Runs, single gaps and one long gap.
        if number % 5 == 2 || (60..120).contains(&number) {
            assert!(store.mark_processed(&saved.id).await?);
        } else {
            expected.push(command.id);
        }
    }
    // Behind them outcomes, more than one batch of direct gets.
    for number in 0..300 {
        let id = command("worker", "echo", Priority::Normal).id;
        put_outcome(
            &client,
            &format!("worker.echo.{number}"),
            done(&id, &response(&id, &json!({"result": 1}))),
        )
        .await?;
        expected.push(id);
    }
    for limit in [7, 100, 1000] {
        let mut found = Vec::new();
        let mut query = MessageQuery::new().limit(limit);
        loop {
            let page = store.query(query.clone()).await?;
            assert!(page.messages.len() <= limit);
            found.extend(page.messages.into_iter().map(|message| message.id));
            match page.next {
                Some(next) => query = query.after(next),
                None => break,
            }
        }
        assert_eq!(found, expected, "limit {limit}");
    }
    Ok(())
}

#[tokio::test]
async fn deleting_removes_queued_and_delayed_commands_and_keeps_outcomes() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let store = JetStreamPersistence::new(&client);
    let queued = command("worker", "echo", Priority::Normal);
    store.save(envelope(&queued)).await?;

    let delayed = command("worker", "render", Priority::High);
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Schedule", "@at 2099-01-01T00:00:00Z");
    headers.insert("Nats-Schedule-Target", "mcp.cmd.worker.high.render");
    let subject = format!("mcp.delay.worker.{}", delayed.id);
    client
        .jetstream()
        .publish_with_headers(subject, headers, Format::Msgpack.encode(&delayed)?)
        .await?
        .await?;
    let found = store
        .load(&delayed.id)
        .await?
        .expect("the delayed command is listed");
    assert!(
        matches!(found.reference, Reference::Delayed { .. }),
        "{found:?}"
    );
    assert_eq!(
        (found.action.as_str(), found.lane, found.state),
        ("render", Some(Priority::High), MessageState::Queued)
    );

    for id in [&queued.id, &delayed.id] {
        assert_eq!(store.delete(id).await?, 1);
        assert_eq!(store.load(id).await?, None);
        assert_eq!(store.delete(id).await?, 0);
    }
    let error = response(&queued.id, &json!({"error": McpError::permanent("BROKEN")}));
    put_outcome(&client, "worker.echo.abc", done(&queued.id, &error)).await?;
    assert!(matches!(
        store.delete(&queued.id).await,
        Err(PersistenceError::Done { .. })
    ));
    let outcome = store.load(&queued.id).await?.expect("the outcome stays");
    assert_eq!(
        (outcome.attempts, outcome.error.map(|error| error.code)),
        (2, Some("BROKEN".to_owned()))
    );
    assert_eq!(store.stats().deleted.failed, 1);
    Ok(())
}

#[tokio::test]
async fn recovery_counts_what_an_earlier_run_has_left() -> TestResult {
    async fn hold(_: Context, _: serde_json::Value) -> Result<(), McpError> {
        std::future::pending().await
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let store = JetStreamPersistence::new(&client);
    assert_eq!(store.recover().await?, Default::default());
    let _agent = Agent::new("worker").on("hold", hold).start(&client).await?;
    store
        .save(envelope(&command("worker", "hold", Priority::Normal)))
        .await?;
    store
        .save(envelope(&command("sleeper", "wake", Priority::Normal)))
        .await?;
    let reserved = json!({"state": "reserved", "command_id": "x", "parameters_sha256": "", "owner": "gone", "errors": []});
    put_outcome(&client, "worker.hold.abc", reserved).await?;
    let presence = client
        .jetstream()
        .get_key_value("mcp_agents")
        .await?
        .keys()
        .await?;
    let keys: Vec<String> = futures_util::TryStreamExt::try_collect(presence).await?;
    let instance = keys[0]
        .strip_prefix("worker.")
        .expect("the agent is present");
    let alive = json!({"state": "reserved", "command_id": "x", "parameters_sha256": "", "owner": instance, "errors": []});
    put_outcome(&client, "worker.hold.def", alive).await?;
    eventually("the delivery", || async {
        store.recover().await.unwrap().in_flight == 1
    })
    .await;
    let left = store.recover().await?;
    assert_eq!(
        (
            left.queued,
            left.in_flight,
            left.dead,
            left.reservations,
            left.orphaned
        ),
        (1, 1, 0, 2, 1)
    );
    Ok(())
}

async fn outbox(folder: &Path) -> Result<Outbox, PersistenceError> {
    Outbox::open(OutboxConfig::new(folder)).await
}

#[tokio::test]
async fn outbox_is_emptied_by_lane_when_the_server_is_back() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let folder = tempfile::tempdir()?;
    let outbox = outbox(&folder.path().join("outbox")).await?;
    broker.kill().await?;
    let stop = CancellationToken::new();
    let draining = tokio::spawn({
        let (outbox, client, stop) = (outbox.clone(), client.clone(), stop.clone());
        async move { outbox.drain(&client, &stop).await }
    });
    let lanes = [Priority::High, Priority::Critical].into_iter();
    let mut expected: Vec<Command> = lanes
        .flat_map(|lane| (0..100).map(move |_| command("worker", "echo", lane)))
        .collect();
    for command in &expected {
        assert!(!outbox.spool(envelope(command)).await?.duplicate);
    }
    assert!(outbox.spool(envelope(&expected[0])).await?.duplicate);
    assert_eq!(outbox.recover().await?.queued, 200);
    let listed = outbox
        .query(MessageQuery::new().lane(Priority::High).limit(7))
        .await?;
    assert_eq!((listed.messages.len(), listed.next.is_some()), (7, true));
    assert_eq!(
        outbox
            .load(&expected[3].id)
            .await?
            .map(|message| message.state),
        Some(MessageState::Queued)
    );

    broker.restart().await?;
    eventually("the outbox is empty", || async {
        outbox.is_empty().await.unwrap()
    })
    .await;
    let stored = JetStreamPersistence::new(&client)
        .query(MessageQuery::new().limit(1000))
        .await?
        .messages;
    let stored: Vec<&str> = stored.iter().map(|message| message.id.as_str()).collect();
    expected.rotate_left(100);
    let expected: Vec<&str> = expected.iter().map(|command| command.id.as_str()).collect();
    assert_eq!(
        stored, expected,
        "critical first, each lane in its order, each once"
    );
    assert_eq!(outbox.stats().processed.succeeded, 200);

    let late = command("worker", "echo", Priority::High);
    outbox.spool(envelope(&late)).await?;
    eventually("a later command is sent at once", || async {
        outbox.is_empty().await.unwrap()
    })
    .await;
    stop.cancel();
    draining.await?;
    Ok(())
}

#[tokio::test]
async fn outbox_refuses_what_is_over_its_bounds() -> TestResult {
    let folder = tempfile::tempdir()?;
    let by_count = Outbox::open(OutboxConfig::new(folder.path().join("a")).max_messages(2)).await?;
    for _ in 0..2 {
        by_count
            .spool(envelope(&command("worker", "echo", Priority::High)))
            .await?;
    }
    let error = by_count
        .spool(envelope(&command("worker", "echo", Priority::High)))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is full: it may hold 2 messages"),
        "{error}"
    );
    let first = by_count
        .query(MessageQuery::new())
        .await?
        .messages
        .remove(0);
    assert_eq!(by_count.delete(&first.id).await?, 1);
    by_count
        .spool(envelope(&command("worker", "echo", Priority::High)))
        .await?;

    let by_size = Outbox::open(OutboxConfig::new(folder.path().join("b")).max_bytes(300)).await?;
    let error = async {
        loop {
            if let Err(error) = by_size
                .spool(envelope(&command("worker", "echo", Priority::High)))
                .await
            {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), error).await?;
    assert!(
        error
            .to_string()
            .ends_with("is full: it may hold 300 bytes"),
        "{error}"
    );
    assert_eq!(by_size.stats().saved.failed, 1);
    Ok(())
}

#[tokio::test]
async fn what_the_server_can_never_take_does_not_block_the_outbox() -> TestResult {
    let broker =
        TestBroker::start_with(mcp_agent_sdk::LocalServer::builder().max_payload(64 * 1024))
            .await?;
    let client = broker.client().await?;
    let folder = tempfile::tempdir()?;
    let outbox = outbox(folder.path()).await?;
    let mut huge = command("worker", "echo", Priority::Critical);
    huge.parameters = Raw::encode(&"x".repeat(100_000))?;
    outbox.spool(envelope(&huge)).await?;
    let small = command("worker", "echo", Priority::High);
    outbox.spool(envelope(&small)).await?;
    let stop = CancellationToken::new();
    tokio::select! {
        () = outbox.drain(&client, &stop) => panic!("it drains until it is stopped"),
        () = eventually("the small one is sent", || async { outbox.len().await.unwrap() == 1 }) => {}
    }
    let left = outbox
        .query(MessageQuery::new().state(MessageState::Dead))
        .await?
        .messages;
    assert_eq!(left.len(), 1);
    assert_eq!(
        (
            &left[0].id,
            left[0].error.as_ref().map(|error| error.code.as_str())
        ),
        (&huge.id, Some("PAYLOAD_TOO_LARGE"))
    );
    assert!(
        JetStreamPersistence::new(&client)
            .load(&small.id)
            .await?
            .is_some()
    );
    Ok(())
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_passed_over_and_tried_again() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let limit_to = async |bytes: i32| {
        let mut stream = client.jetstream().get_stream("mcp_commands").await.unwrap();
        let mut config = stream.info().await.unwrap().config.clone();
        config.max_message_size = bytes;
        client.jetstream().update_stream(config).await.unwrap();
    };
    limit_to(5_000).await;
    let folder = tempfile::tempdir()?;
    let outbox = outbox(folder.path()).await?;
    let mut large = command("worker", "echo", Priority::Critical);
    large.parameters = Raw::encode(&"x".repeat(10_000))?;
    let small = command("worker", "echo", Priority::High);
    for command in [&large, &small] {
        outbox.spool(envelope(command)).await?;
    }
    let stop = CancellationToken::new();
    let first_the_small_one = async {
        eventually("the small one is sent", || async {
            outbox.len().await.unwrap() == 1
        })
        .await;
        let left = outbox.query(MessageQuery::new()).await.unwrap().messages;
        assert_eq!(
            (&left[0].id, left[0].state),
            (&large.id, MessageState::Queued)
        );
        limit_to(-1).await;
        eventually("the large one is sent", || async {
            outbox.is_empty().await.unwrap()
        })
        .await;
    };
    tokio::select! {
        () = outbox.drain(&client, &stop) => panic!("it drains until it is stopped"),
        () = first_the_small_one => {}
    }
    let stored = JetStreamPersistence::new(&client)
        .query(MessageQuery::new())
        .await?
        .messages;
    assert_eq!(
        stored.iter().map(|message| &message.id).collect::<Vec<_>>(),
        [&small.id, &large.id]
    );
    Ok(())
}

/// Not a test of its own: what the test below runs as another process, and kills.
#[tokio::test]
async fn spooling_process() -> TestResult {
    let Some(folder) = std::env::var_os("TEST_OUTBOX") else {
        return Ok(());
    };
    let outbox = outbox(Path::new(&folder)).await?;
    loop {
        let command = command("worker", "echo", Priority::High);
        outbox.spool(envelope(&command)).await?;
        // Only what was spooled is told.
        println!("spooled {}", command.id);
    }
}

#[tokio::test]
async fn outbox_survives_kill_9_and_is_one_process_s_at_a_time() -> TestResult {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir()?;
    let mut child = Process::new(std::env::current_exe()?)
        .args(["--exact", "spooling_process", "--nocapture"])
        .env("TEST_OUTBOX", folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().expect("its output is piped");
    let told = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        lines.filter_map(|line| line.split("spooled ").nth(1).map(str::to_owned))
    });
    let mut told = told.await?;
    let mut ids: Vec<String> = told.by_ref().take(20).collect();
    let error = outbox(folder.path()).await.unwrap_err();
    assert!(
        matches!(error, PersistenceError::OutboxInUse { .. }),
        "{error}"
    );
    child.kill()?;
    child.wait()?;
    ids.extend(told);

    let outbox = outbox(folder.path()).await?;
    let left = outbox
        .query(MessageQuery::new().limit(10_000))
        .await?
        .messages;
    assert!(left.len() >= ids.len(), "{} of {}", left.len(), ids.len());
    for id in &ids {
        assert!(
            left.iter().any(|message| message.id == *id),
            "{id} was spooled and is gone"
        );
    }
    assert_eq!(outbox.recover().await?.queued, left.len() as u64);
    Ok(())
}

#[tokio::test]
async fn an_outcome_too_large_for_its_message_is_found_by_id() -> TestResult {
    async fn large(_: Context, n: usize) -> Result<String, McpError> {
        Ok("x".repeat(n))
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = Agent::new("worker")
        .on("large", large)
        .start(&client)
        .await?;
    let submitted = client.submit_command("worker", "large", 600_000).await?;
    let text: String = submitted.outcome(Duration::from_secs(20)).await?;
    assert_eq!(text.len(), 600_000);
    let store = JetStreamPersistence::new(&client);
    let message = store.load(submitted.id()).await?.expect("it is listed");
    assert_eq!(
        (message.state, message.size > 600_000),
        (MessageState::Done, true)
    );
    Ok(())
}
