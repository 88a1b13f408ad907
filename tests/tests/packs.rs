//! Packs: several commands in one message, when there are many of them and they are quick work.

use std::{
    collections::{BTreeMap, HashSet},
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use mcp_agent_sdk::{
    Agent, Client, Context, McpError, Name, Priority, Raw, SendError, TestBroker, code,
    runtime::{Command, DeadLetterFilter, DeadLetters, Format, Reply, transport::new_message_id},
};
use mcp_tests::{eventually, spawn_probe};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

async fn double(_: Context, n: u32) -> Result<u32, McpError> {
    Ok(2 * n)
}

/// What handlers did: runs, now and most at once.
#[derive(Default)]
struct Meter {
    runs: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn work(ctx: Context<Arc<Meter>>, ms: u64) -> Result<u64, McpError> {
    let meter = ctx.state();
    meter.runs.fetch_add(1, Ordering::SeqCst);
    let now = meter.now.fetch_add(1, Ordering::SeqCst) + 1;
    meter.most.fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    meter.now.fetch_sub(1, Ordering::SeqCst);
    Ok(ms)
}

/// Hears of every pack that is published to an agent, and how many members it has.
async fn listen(
    broker: &TestBroker,
    subject: &str,
) -> Result<async_nats::Subscriber, Box<dyn std::error::Error>> {
    let client = broker.client().await?;
    let packs = client.nats().subscribe(subject.to_owned()).await?;
    client.nats().flush().await?;
    Ok(packs)
}

/// The sizes of all packs so far; ends the listening.
async fn sizes(mut packs: async_nats::Subscriber) -> Vec<usize> {
    packs.drain().await.expect("the connection is there");
    let declared = |message: async_nats::Message| {
        message
            .headers?
            .get("Mcp-Pack")?
            .as_str()
            .parse::<usize>()
            .ok()
    };
    packs
        .filter_map(async |message| declared(message))
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_quick_commands_travel_together_and_a_lone_one_alone() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    let packs = listen(&broker, "mcp.cmd.worker.*.pack").await?;
    for n in 0..20_u32 {
        let doubled: u32 = client.send_command("worker", "double", n).await?;
        assert_eq!(doubled, 2 * n);
    }
    assert_eq!(
        sizes(packs).await,
        [0; 0],
        "one after the other they are not packed"
    );

    let packs = listen(&broker, "mcp.cmd.worker.*.pack").await?;
    let send = |n: u32| {
        // Some with a key, one lane that is never packed.
        let command = client.send_command::<u32>("worker", "double", n);
        match n % 10 {
            0 => command.idempotency_key(format!("key-{n}")),
            1 => command.priority(Priority::High),
            2 => command.priority(Priority::Low),
            _ => command,
        }
    };
    let doubled = join_all((0..600).map(|n| send(n).into_future())).await;
    for (n, doubled) in doubled.into_iter().enumerate() {
        assert_eq!(doubled?, 2 * n as u32);
    }
    let sizes = sizes(packs).await;
    assert!(!sizes.is_empty(), "none was packed");
    assert!(
        sizes.iter().all(|size| (2..=64).contains(size)),
        "{sizes:?}"
    );
    assert!(sizes.iter().sum::<usize>() > 100, "{sizes:?}");
    let stream = client.jetstream().get_stream("mcp_commands").await?;
    eventually("all are acknowledged", || async {
        stream
            .get_info()
            .await
            .is_ok_and(|info| info.state.messages == 0)
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handlers_get_no_packs() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let meter = Arc::new(Meter::default());
    let agent = Agent::with_state("worker", meter).on("work", work);
    let _agent = agent.start(&client).await?;
    let packs = listen(&broker, "mcp.cmd.worker.*.pack").await?;
    for _ in 0..3 {
        let send = || {
            client
                .send_command::<u64>("worker", "work", 8)
                .into_future()
        };
        for outcome in join_all((0..60).map(|_| send())).await {
            assert_eq!(outcome?, 8);
        }
    }
    assert_eq!(sizes(packs).await, [0; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_handed_over_at_once() -> TestResult {
    let broker = TestBroker::start().await?;
    let (client, agent_side) = (broker.client().await?, broker.client().await?);
    let meter = Arc::new(Meter::default());
    let agent = Agent::with_state("worker", Arc::clone(&meter)).on("work", work);
    let _agent = agent.start(&agent_side).await?;
    let packs = listen(&broker, "mcp.cmd.worker.*.pack").await?;
    let commands = (0..300).map(|_| client.submit_command("worker", "work", 1));
    let submitted = client.submit_many(commands).await;
    let ids: HashSet<&str> = submitted.iter().flatten().map(|one| one.id()).collect();
    assert_eq!(ids.len(), 300);
    for one in submitted.iter().flatten().step_by(29) {
        assert_eq!(one.outcome::<u64>(Duration::from_secs(20)).await?, 1);
    }
    eventually("all are done", || async {
        meter.runs.load(Ordering::SeqCst) == 300
    })
    .await;
    assert!(!sizes(packs).await.is_empty(), "none was packed");
    // To an agent that nobody knows they travel alone, and are stored all the same.
    let unknown = client
        .submit_many([client.submit_command("nobody", "work", 1)])
        .await;
    assert!(unknown[0].is_ok());
    Ok(())
}

/// A requester by hand, for packs of its own making.
struct Hand {
    client: Client,
    replies: async_nats::Subscriber,
    requester: String,
    agent: &'static str,
}

impl Hand {
    async fn new(
        broker: &TestBroker,
        agent: &'static str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let client = broker.client().await?;
        let requester = new_message_id();
        let replies = client
            .nats()
            .subscribe(format!("mcp.reply.{requester}.*"))
            .await?;
        Ok(Self {
            client,
            replies,
            requester,
            agent,
        })
    }

    fn command(&self, action: &str, parameters: &Value) -> Command {
        let name = |text| Name::new(text).expect("a valid name");
        let parameters = Raw::encode(parameters).expect("it can be encoded");
        let mut command = Command::new(name("hand"), name(self.agent), name(action), parameters);
        command.reply_to = Some(format!("mcp.reply.{}.{}", self.requester, command.id));
        command
    }

    async fn publish(
        &self,
        body: Bytes,
        members: usize,
    ) -> Result<u64, Box<dyn std::error::Error>> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", new_message_id());
        headers.insert("Mcp-Pack", members.to_string());
        let subject = format!("mcp.cmd.{}.normal.pack", self.agent);
        let publishing = self
            .client
            .jetstream()
            .publish_with_headers(subject, headers, body);
        Ok(publishing.await?.await?.sequence)
    }

    async fn send(&self, commands: &[Command]) -> Result<u64, Box<dyn std::error::Error>> {
        let member = |command: &Command| {
            let mut headers = BTreeMap::new();
            headers.insert("Nats-Msg-Id", format!("{}.{}", command.id, command.attempt));
            (
                headers,
                Format::Msgpack.encode(command).expect("it can be encoded"),
            )
        };
        let pack: Vec<_> = commands.iter().map(member).collect();
        self.publish(rmp_serde::to_vec(&pack)?.into(), commands.len())
            .await
    }

    /// Waits for a response to each, and returns those of each in the order in which they came.
    async fn responses(
        &mut self,
        commands: &[Command],
    ) -> Result<BTreeMap<String, Reply>, Box<dyn std::error::Error>> {
        let mut responses = BTreeMap::new();
        while responses.len() < commands.len() {
            let frame = tokio::time::timeout(Duration::from_secs(45), self.replies.next()).await?;
            let reply: Reply = Format::Msgpack.decode(&frame.ok_or("no connection")?.payload)?;
            responses.insert(reply.command_id.clone(), reply);
        }
        Ok(responses)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_without_room_travel_on_their_own() -> TestResult {
    let broker = TestBroker::start().await?;
    let mut hand = Hand::new(&broker, "worker").await?;
    let meter = Arc::new(Meter::default());
    let agent = Agent::with_state("worker", Arc::clone(&meter)).on("work", work);
    let _agent = agent.capacity(2).start(&hand.client).await?;
    let commands: Vec<_> = (0..10).map(|_| hand.command("work", &json!(50))).collect();
    let pack = hand.send(&commands).await?;
    let responses = hand.responses(&commands).await?;
    assert!(
        responses.values().all(|reply| reply.error.is_none()),
        "{responses:?}"
    );
    assert_eq!(meter.runs.load(Ordering::SeqCst), 10);
    assert_eq!(meter.most.load(Ordering::SeqCst), 2);
    let stream = hand.client.jetstream().get_stream("mcp_commands").await?;
    eventually("everything is acknowledged", || async {
        stream
            .get_info()
            .await
            .is_ok_and(|info| info.state.messages == 0)
    })
    .await;
    let stored = stream.get_info().await?.state.last_sequence - pack;
    assert!((6..=8).contains(&stored), "{stored} were passed on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_pack_is_a_dead_letter() -> TestResult {
    let broker = TestBroker::start().await?;
    let mut hand = Hand::new(&broker, "worker").await?;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&hand.client)
        .await?;
    hand.publish(Bytes::from_static(b"\x93nonsense"), 3).await?;
    let letters = DeadLetters::new(&hand.client);
    eventually("it is among the dead letters", || async {
        let found = letters
            .list(&DeadLetterFilter::default())
            .await
            .unwrap_or_default();
        found
            .iter()
            .any(|letter| letter.action == "pack" && letter.reason == code::INVALID_MESSAGE)
    })
    .await;
    let commands = [hand.command("double", &json!(21))];
    hand.send(&commands).await?;
    let responses = hand.responses(&commands).await?;
    assert_eq!(responses.len(), 1, "the agent goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_whose_worker_is_killed_loses_nothing() -> TestResult {
    let broker = TestBroker::start().await?;
    let mut hand = Hand::new(&broker, "probe").await?;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let arguments = [
        "--capacity",
        "40",
        "--effects-file",
        effects.to_str().ok_or("a path")?,
    ];
    let mut first = spawn_probe(broker.url(), &arguments).await;
    // Keyed ones that end at once, and others that are at work when the worker dies.
    let mut commands: Vec<_> = (0..12)
        .map(|n| {
            let mut command = hand.command("effect", &json!({ "key": format!("k{n}") }));
            command.idempotency_key = Some(format!("k{n}"));
            command
        })
        .collect();
    commands.extend((0..12).map(|_| hand.command("sleep", &json!({ "ms": 1_500 }))));
    hand.send(&commands).await?;
    eventually("some have taken effect", || async {
        std::fs::read_to_string(&effects).is_ok_and(|text| text.lines().count() >= 6)
    })
    .await;
    first.kill().await;
    let _second = spawn_probe(broker.url(), &arguments).await;
    let responses = hand.responses(&commands).await?;
    assert!(
        responses.values().all(|reply| reply.error.is_none()),
        "{responses:?}"
    );
    let text = std::fs::read_to_string(&effects)?;
    let distinct: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!((text.lines().count(), distinct.len()), (12, 12), "{text}");
    let stream = hand.client.jetstream().get_stream("mcp_commands").await?;
    eventually("everything is acknowledged", || async {
        stream
            .get_info()
            .await
            .is_ok_and(|info| info.state.messages == 0)
    })
    .await;
    // What is done is not run again, also not by the pack's redelivery to somebody who knows nothing of it.
    let outcome: Result<Option<_>, SendError> = hand.client.outcome("probe", "effect", "k3").await;
    assert!(outcome?.is_some_and(|record| record.is_done()));
    Ok(())
}
