//! Dead letters: found, read, redriven once, deleted, against real servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_nats::HeaderMap;
use mcp_agent_sdk::{
    Agent, Client, Context, McpError, Name, Raw, TestBroker,
    runtime::{
        Command, DeadLetterError, DeadLetterFilter, DeadLetters, Edits, Format, Namespace,
        persistence::{Envelope, JetStreamPersistence, MessagePersistence},
    },
};
use mcp_tests::eventually;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn command(action: &str, parameters: &Value) -> Command {
    Command::new(
        name("test"),
        name("worker"),
        name(action),
        Raw::encode(parameters).unwrap(),
    )
}

async fn send(client: &Client, command: &Command) -> TestResult {
    let envelope = Envelope::of_command(&Namespace::default(), command)?;
    JetStreamPersistence::new(client).save(envelope).await?;
    Ok(())
}

/// Puts a letter of `command` among the dead letters, as a worker would; returns its sequence.
async fn bury(
    client: &Client,
    command: &Command,
    reason: &str,
) -> Result<u64, Box<dyn std::error::Error>> {
    let body = Format::Msgpack.encode(command)?;
    bury_raw(client, command, reason, body).await
}

async fn bury_raw(
    client: &Client,
    command: &Command,
    reason: &str,
    body: bytes::Bytes,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut headers = HeaderMap::new();
    headers.insert(
        "Mcp-Original-Nats-Msg-Id",
        format!("{}.{}", command.id, command.attempt),
    );
    headers.insert("Mcp-Original-Nats-Expected-Stream", "another");
    headers.insert("Nats-Msg-Id", format!("dead.mcp_commands.{}", command.id));
    headers.insert("Mcp-Dead-Reason", reason);
    headers.insert("Mcp-Dead-At", "1");
    headers.insert("Mcp-Attempts", "3");
    headers.insert(
        "Mcp-Errors",
        serde_json::to_string(&[McpError::permanent(reason)])?,
    );
    headers.insert(
        "Mcp-Original-Subject",
        format!("mcp.cmd.worker.{}.{}", command.priority, command.action),
    );
    headers.insert("Mcp-Age-Ms", "90000");
    headers.insert("Content-Type", "application/msgpack");
    headers.insert(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let subject = format!("mcp.dead.worker.{}", command.action);
    Ok(client
        .jetstream()
        .publish_with_headers(subject, headers, body)
        .await?
        .await?
        .sequence)
}

async fn queued(
    client: &Client,
    sequence: u64,
) -> Result<(HeaderMap, Value), Box<dyn std::error::Error>> {
    let stream = client
        .jetstream()
        .get_stream_no_info("mcp_commands")
        .await?;
    let message = stream.get_raw_message(sequence).await?;
    Ok((message.headers, Format::Msgpack.decode(&message.payload)?))
}

async fn count(client: &Client, stream: &str) -> u64 {
    let mut stream = client.jetstream().get_stream(stream).await.unwrap();
    stream.info().await.unwrap().state.messages
}

fn outcome_key(action: &str, key: &str) -> String {
    use std::fmt::Write;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(key);
    let mut hex = String::new();
    for byte in digest {
        write!(hex, "{byte:02x}").unwrap();
    }
    format!("$KV.mcp_outcomes.worker.{action}.{hex}")
}

fn outcome(state: &str, id: &str, outcome: Option<Value>) -> Value {
    let response = outcome.map(|outcome| {
        let mut frame = json!({
            "v": 1, "kind": "response", "id": id, "command_id": id, "source": "worker", "instance": "i1", "attempt": 1,
            "status": if outcome["error"].is_null() { "ok" } else { "error" },
        });
        frame.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
        frame
    });
    json!({"state": state, "command_id": id, "parameters_sha256": "", "owner": "i1", "errors": [], "response": response})
}

#[tokio::test]
async fn a_letter_redriven_after_its_cause_is_gone_is_done() -> TestResult {
    struct Gpu {
        broken: AtomicBool,
        runs: AtomicU32,
    }
    async fn render(ctx: Context<Arc<Gpu>>, _: Value) -> Result<(), McpError> {
        match ctx.state().broken.load(Ordering::Relaxed) {
            true => Err(McpError::permanent("GPU_BROKEN").message("no picture")),
            false => {
                ctx.state().runs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let gpu = Arc::new(Gpu {
        broken: AtomicBool::new(true),
        runs: AtomicU32::new(0),
    });
    let _agent = Agent::with_state("worker", Arc::clone(&gpu))
        .on("render", render)
        .start(&client)
        .await?;
    for scene in 0..3 {
        send(&client, &command("render", &json!({"scene": scene}))).await?;
    }
    let letters = DeadLetters::new(&client);
    let all = DeadLetterFilter::new();
    eventually("three letters", || async {
        letters.list(&all).await.unwrap().len() == 3
    })
    .await;
    let first = letters.list(&all).await?.remove(0);
    assert_eq!(
        (
            first.agent.as_str(),
            first.action.as_str(),
            first.reason.as_str()
        ),
        ("worker", "render", "GPU_BROKEN")
    );
    assert_eq!(first.errors[0].message, "no picture");

    // Still broken: they die again, linked to the first letter, and are not redriven for ever.
    let report = letters.redrive_matching(&all, &Edits::new()).await?;
    assert_eq!((report.redriven.len(), report.failed.len()), (3, 0));
    eventually("three letters again", || async {
        letters.list(&all).await.unwrap().len() == 3
    })
    .await;
    let again = letters.list(&all).await?.remove(0);
    assert_eq!(
        (&again.id, again.redriven_from),
        (&first.id, Some(first.sequence))
    );

    gpu.broken.store(false, Ordering::Relaxed);
    let one = letters
        .redrive_matching(&all.clone().limit(1), &Edits::new())
        .await?;
    assert_eq!(one.redriven.len(), 1);
    let rest = letters
        .redrive_matching(&DeadLetterFilter::new().reason("GPU_BROKEN"), &Edits::new())
        .await?;
    assert_eq!(rest.redriven.len(), 2);
    eventually("three runs", || async {
        gpu.runs.load(Ordering::Relaxed) == 3
    })
    .await;
    assert_eq!(count(&client, "mcp_dead_letters").await, 0);
    Ok(())
}

#[tokio::test]
async fn a_redriven_idempotent_command_takes_effect_once() -> TestResult {
    async fn pay(ctx: Context<Arc<AtomicU32>>, _: Value) -> Result<u32, McpError> {
        match ctx.state().fetch_add(1, Ordering::Relaxed) {
            0 => Err(McpError::permanent("NO_BANK")),
            run => Ok(run),
        }
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let runs = Arc::new(AtomicU32::new(0));
    let _agent = Agent::with_state("worker", Arc::clone(&runs))
        .on("pay", pay)
        .start(&client)
        .await?;
    let mut payment = command("pay", &json!({"amount": 7}));
    payment.idempotency_key = Some("invoice 1".to_owned());
    send(&client, &payment).await?;
    let letters = DeadLetters::new(&client);
    let all = DeadLetterFilter::new();
    eventually("the letter", || async {
        letters.list(&all).await.unwrap().len() == 1
    })
    .await;
    assert_eq!(
        letters
            .redrive_matching(&all, &Edits::new())
            .await?
            .redriven
            .len(),
        1
    );
    eventually("the payment", || async {
        runs.load(Ordering::Relaxed) == 2 && count(&client, "mcp_commands").await == 0
    })
    .await;
    // As after a crash between publish and removal, longer ago than the stream remembers message ids.
    let copy = bury(&client, &payment, "NO_BANK").await?;
    assert!(!letters.redrive(copy, &Edits::new()).await?.duplicate);
    eventually("the second payment", || async {
        count(&client, "mcp_commands").await == 0
    })
    .await;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(count(&client, "mcp_dead_letters").await, 0);
    Ok(())
}

#[tokio::test]
async fn redriven_commands_are_as_they_were_but_for_attempt_and_link() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    let mut command = command("render", &json!({"scene": 1, "quality": "high"}));
    command.attempt = 3;
    command.idempotency_key = Some("k1".to_owned());
    let sequence = bury(&client, &command, "GPU_BUSY").await?;
    let shown = letters.show(sequence).await?;
    assert_eq!(
        shown.parameters().unwrap().decode::<Value>()?,
        json!({"scene": 1, "quality": "high"})
    );
    assert!(!format!("{shown:?}").contains("quality"));

    let redriven = letters.redrive(sequence, &Edits::new()).await?;
    let (headers, body) = queued(&client, redriven.stored_as).await?;
    let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "Content-Type",
            "Mcp-Redriven-From",
            "Nats-Msg-Id",
            "traceparent"
        ]
    );
    let header = |name: &str| headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(header("Nats-Msg-Id"), format!("{}.r{sequence}", command.id));
    assert_eq!(header("Mcp-Redriven-From"), sequence.to_string());
    let mut expected = serde_json::to_value(&command)?;
    expected["attempt"] = json!(1);
    assert_eq!(body, expected);
    assert!(matches!(
        letters.show(sequence).await,
        Err(DeadLetterError::NotFound { .. })
    ));
    assert!(matches!(
        letters.redrive(sequence, &Edits::new()).await,
        Err(DeadLetterError::NotFound { .. })
    ));

    command.id = command_id();
    let sequence = bury(&client, &command, "GPU_BUSY").await?;
    let edited = letters
        .redrive(sequence, &Edits::new().set("quality", "low")?)
        .await?;
    let (_, body) = queued(&client, edited.stored_as).await?;
    assert_eq!(body["parameters"], json!({"scene": 1, "quality": "low"}));
    assert_eq!(
        body["idempotency_key"],
        format!("{}.r{sequence}", edited.id)
    );
    Ok(())
}

fn command_id() -> String {
    command("render", &Value::Null).id
}

#[tokio::test]
async fn only_an_error_outcome_of_the_key_is_removed() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    let error = || Some(json!({"error": McpError::permanent("BROKEN")}));
    let (own, other) = (command_id(), command_id());
    let rows = [
        ("done", &other, error(), true),
        ("done", &own, Some(json!({"result": 1})), false),
        ("failing", &own, None, true),
        ("failing", &other, None, false),
        ("reserved", &own, None, false),
    ];
    for (row, (state, owner, response, removed)) in rows.into_iter().enumerate() {
        for key in [Some(format!("key {row}")), None] {
            let mut command = command("render", &json!({}));
            command.idempotency_key = key.clone();
            let record_id = if *owner == own {
                command.id.clone()
            } else {
                owner.clone()
            };
            let subject = outcome_key("render", key.as_deref().unwrap_or(&command.id));
            let record = Format::Msgpack.encode(&outcome(state, &record_id, response.clone()))?;
            client
                .jetstream()
                .publish(subject.clone(), record)
                .await?
                .await?;
            let sequence = bury(&client, &command, "BROKEN").await?;
            letters.redrive(sequence, &Edits::new()).await?;
            let bucket = client
                .jetstream()
                .get_stream_no_info("KV_mcp_outcomes")
                .await?;
            let left = bucket.get_last_raw_message_by_subject(&subject).await?;
            let operation = left
                .headers
                .get("KV-Operation")
                .map(|operation| operation.as_str() == "DEL");
            assert_eq!(operation, removed.then_some(true), "row {row}, key {key:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_letter_redriven_twice_at_once_is_sent_once() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    for round in 1..=10 {
        let sequence = bury(&client, &command("render", &json!({})), "BROKEN").await?;
        let redrives: Vec<_> = (0..8)
            .map(|_| {
                let letters = letters.clone();
                tokio::spawn(async move { letters.redrive(sequence, &Edits::new()).await })
            })
            .collect();
        let mut first = 0;
        for redrive in redrives {
            match redrive.await? {
                Ok(redriven) => first += u32::from(!redriven.duplicate),
                Err(DeadLetterError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        assert_eq!(first, 1);
        assert_eq!(count(&client, "mcp_commands").await, round);
    }
    Ok(())
}

#[tokio::test]
async fn letters_are_found_by_what_they_say() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    let mut ids = Vec::new();
    for number in 0..20 {
        let command = command(["render", "cut"][number % 2], &json!({}));
        bury(&client, &command, ["BROKEN", "TOO_BIG"][number / 10]).await?;
        ids.push(command.id);
    }
    let found = async |filter: DeadLetterFilter| letters.list(&filter).await.unwrap().len();
    let filter = DeadLetterFilter::new;
    assert_eq!(found(filter()).await, 20);
    assert_eq!(found(filter().agent(name("other"))).await, 0);
    assert_eq!(found(filter().action(name("cut"))).await, 10);
    assert_eq!(
        found(filter().action(name("cut")).reason("TOO_BIG")).await,
        5
    );
    assert_eq!(
        found(filter().id(&ids[3]).id(&ids[4]).id("unknown")).await,
        2
    );
    assert_eq!(
        found(filter().sequence(2).sequence(20).sequence(99)).await,
        2
    );
    assert_eq!(
        found(filter().older_than(Duration::from_secs(3600))).await,
        0
    );
    assert_eq!(
        found(filter().younger_than(Duration::from_secs(3600))).await,
        20
    );
    assert_eq!(found(filter().limit(7)).await, 7);
    assert_eq!(found(filter().after(15)).await, 5);
    letters.delete(3).await?;
    let gone = letters.delete(3).await.unwrap_err();
    assert!(
        matches!(gone, DeadLetterError::NotFound { sequence: 3 }),
        "{gone:?}"
    );
    assert_eq!(found(filter()).await, 19);
    Ok(())
}

#[tokio::test]
async fn letters_that_say_nonsense_are_kept_or_sent_as_they_are() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    let nonsense = command("render", &json!({}));
    let sequence = bury_raw(&client, &nonsense, "INVALID_MESSAGE", "nonsense".into()).await?;
    let refused = letters
        .redrive(sequence, &Edits::new().set("a", 1)?)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, DeadLetterError::NotRedrivable { .. }),
        "{refused}"
    );
    let redriven = letters.redrive(sequence, &Edits::new()).await?;
    let stream = client
        .jetstream()
        .get_stream_no_info("mcp_commands")
        .await?;
    assert_eq!(
        stream.get_raw_message(redriven.stored_as).await?.payload,
        "nonsense"
    );

    let bare = client
        .jetstream()
        .publish("mcp.dead.worker.render", "x".into())
        .await?
        .await?
        .sequence;
    let refused = letters.redrive(bare, &Edits::new()).await.unwrap_err();
    assert!(
        matches!(refused, DeadLetterError::NotRedrivable { .. }),
        "{refused}"
    );
    letters.show(bare).await?;
    Ok(())
}

#[tokio::test]
async fn large_letters_are_fetched_edited_and_stored_anew() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let letters = DeadLetters::new(&client);
    let large = command(
        "render",
        &json!({"text": "x".repeat(400_000), "quality": "high"}),
    );
    let body = Format::Msgpack.encode(&large)?;
    let payloads = client.jetstream().get_object_store("mcp_payloads").await?;
    payloads.put(large.id.as_str(), &mut body.as_ref()).await?;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&body);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    for (edits, quality) in [
        (Edits::new(), "high"),
        (Edits::new().set("quality", "low")?, "low"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("Mcp-Original-Nats-Msg-Id", format!("{}.1", large.id));
        headers.insert("Mcp-Original-Subject", "mcp.cmd.worker.normal.render");
        headers.insert("Mcp-Payload", large.id.as_str());
        headers.insert("Mcp-Payload-Size", body.len().to_string());
        headers.insert("Mcp-Payload-Sha256", sha256.as_str());
        let letter = client
            .jetstream()
            .publish_with_headers("mcp.dead.worker.render", headers, "".into())
            .await?;
        let redriven = letters.redrive(letter.await?.sequence, &edits).await?;
        let stream = client
            .jetstream()
            .get_stream_no_info("mcp_commands")
            .await?;
        let sent = stream.get_raw_message(redriven.stored_as).await?;
        assert!(sent.payload.is_empty());
        let object = sent.headers.get("Mcp-Payload").unwrap().as_str().to_owned();
        assert_eq!(object == large.id, edits.is_empty());
        let mut stored = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut payloads.get(object).await?, &mut stored).await?;
        let stored: Value = Format::Msgpack.decode(&stored)?;
        assert_eq!(stored["parameters"]["quality"], quality);
    }
    Ok(())
}
