//! Who is there: records, what watchers see, and what a handler that blocks its threads must not do to it.

mod blocked;
mod notices;
mod peer;
mod views;

use mcp_agent_sdk::{
    Agent, Agents, Client, Context, Event, JsonSchema, McpError, Subscription, TestBroker, code,
    runtime::ActionInfo, schemars,
};
use mcp_tests::{eventually, run};
use serde::{Deserialize, Serialize};

type TestResult = Result<(), Box<dyn std::error::Error>>;

async fn nothing(_: Context, _: ()) -> Result<(), McpError> {
    Ok(())
}

/// Messages that the commands' stream has ever stored.
async fn stored(client: &Client) -> Result<u64, Box<dyn std::error::Error>> {
    let stream = client.jetstream().get_stream("mcp_commands").await?;
    Ok(stream.get_info().await?.state.last_sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_requires_an_instance_fails_fast_and_publishes_nothing() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let send = || client.send_command::<()>("writer", "nothing", ());
    let error = send().require_online().await.expect_err("nobody is there");
    assert_eq!(error.code(), code::NO_INSTANCE);
    assert!(error.is_temporary(), "one may start");
    assert_eq!(stored(&client).await?, 0);

    let writer = Agent::new("writer")
        .on("nothing", nothing)
        .start(&client)
        .await?;
    send().require_online().await?;
    assert_eq!(stored(&client).await?, 1);

    assert!(writer.drain().await);
    let error = send().require_online().await.expect_err("it has left");
    assert_eq!(error.code(), code::NO_INSTANCE);
    assert_eq!(stored(&client).await?, 1);
    Ok(())
}

/// What is to be written.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "its schema is what is tested")]
struct Draft {
    topic: String,
    words: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
struct Text {
    text: String,
}

async fn draft(_: Context, draft: Draft) -> Result<Text, McpError> {
    Ok(Text { text: draft.topic })
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_described_actions_are_there_for_all_to_read() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let agent = Agent::new("writer")
        .on_described("draft", draft)
        .on("nothing", nothing);
    let _writer = agent.start(&client).await?;

    let records = Agents::of(&client).action("draft").list().await?;
    let [record] = &records[..] else {
        panic!("one instance can draft: {records:?}");
    };
    let [draft, nothing] = &record.actions[..] else {
        panic!("two actions: {record:?}");
    };
    assert_eq!(
        nothing,
        &ActionInfo::named("nothing"),
        "who derives nothing tells nothing"
    );
    let takes = draft.parameters_schema.as_ref().expect("it is described");
    assert_eq!(takes["required"], serde_json::json!(["topic"]));
    assert_eq!(takes["properties"]["topic"]["type"], "string");
    let gives = draft.result_schema.as_ref().expect("it is described");
    assert_eq!(gives["properties"]["text"]["type"], "string");

    let shown = run(broker.url(), &["agents", "writer"]).await;
    assert!(
        shown
            .stdout
            .contains("takes {topic: string, words?: integer | null}"),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("gives {text: string}"), "{shown:?}");
    let told = run(broker.url(), &["--json", "agents", "writer"])
        .await
        .json();
    assert_eq!(&told["agents"][0]["actions"][0]["parameters_schema"], takes);
    Ok(())
}

async fn hear(_: Context, _: Event<()>) -> Result<(), McpError> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_start_is_not_there() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let writer = |subject: &str| {
        let subscription = Subscription::to("reader", subject).named("heard");
        Agent::new("writer").on_events(subscription, hear)
    };
    let first = writer("read").start(&client).await?;
    let failed = writer("torn").start(&client).await;
    assert!(failed.is_err(), "the subscription is of something else");
    let there = Agents::of(&client).list().await?;
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(there[0].instance, first.instance().as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_side_by_side_are_marked() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let writer = |version: &str| Agent::new("writer").version(version).on("nothing", nothing);
    let _old = writer("1.0").start(&client).await?;
    let new = writer("1.1").start(&client).await?;

    let only_new = Agents::of(&client).version("1.1").list().await?;
    assert_eq!(only_new.len(), 1);
    assert_eq!(only_new[0].instance, new.instance().as_str());
    let shown = run(broker.url(), &["agents"]).await;
    assert!(
        shown
            .stdout
            .contains("`writer` runs in several versions: 1.0, 1.1"),
        "{shown:?}"
    );
    let told = run(broker.url(), &["--json", "agents"]).await.json();
    assert_eq!(
        told["several_versions"]["writer"],
        serde_json::json!(["1.0", "1.1"])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_line_by_line() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let folder = std::env::temp_dir();
    let watching = ["--json", "agents", "--watch"];
    let first = Agent::new("writer")
        .on("nothing", nothing)
        .start(&client)
        .await?;
    let watcher = mcp_tests::spawn(&folder, broker.url(), &watching).await;
    let lines = || -> Vec<serde_json::Value> {
        let text = watcher.stdout();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    eventually("the watcher has begun", || async { !lines().is_empty() }).await;
    let instance = first.instance().to_string();
    assert!(first.drain().await);
    eventually("the watcher has seen it leave", || async {
        lines().iter().any(|line| line["change"] == "offline")
    })
    .await;
    let lines = lines();
    assert_eq!(lines[0]["change"], "present");
    let last = lines.last().expect("there are lines");
    assert_eq!(
        (&last["change"], &last["reason"]),
        (&"offline".into(), &"left".into())
    );
    assert!(
        lines
            .iter()
            .all(|line| line["instance"] == instance.as_str())
    );
    Ok(())
}
