//! The server goes away: what waits, what is told, what goes on afterwards.

use std::time::{Duration, Instant};

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, Priority, SendError, TestBroker,
    runtime::persistence::OutboxConfig,
};
use mcp_tests::{Cluster, eventually, spawn_probe};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

async fn double(_: Context, n: u32) -> Result<u32, McpError> {
    Ok(2 * n)
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_commands_wait_on_disk_for_the_server() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let folder = tempfile::tempdir()?;
    let config = Config::new(broker.url())
        .name("test")
        .outbox(OutboxConfig::new(folder.path()));
    let client = Client::connect(config).await?;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    broker.kill().await?;
    eventually("the client notices", || async {
        client.nats().connection_state() != async_nats::connection::State::Connected
    })
    .await;

    let urgent = client
        .submit_command("worker", "double", 21)
        .priority(Priority::Critical)
        .await?;
    let ordinary = client
        .submit_command("worker", "double", 4)
        .timeout(Duration::from_millis(500))
        .await;
    assert!(
        matches!(ordinary, Err(SendError::Transport { .. })),
        "only urgent lanes are spooled"
    );
    assert_eq!(client.outbox().expect("it is on").len().await?, 1);

    broker.restart().await?;
    let doubled: u32 = urgent.outcome(Duration::from_secs(20)).await?;
    assert_eq!(doubled, 42);
    eventually("the outbox is empty", || async {
        client.outbox().expect("it is on").is_empty().await.unwrap()
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_by_itself_after_an_outage() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _probe = spawn_probe(broker.url(), &[]).await;
    broker.kill().await?;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .send_command::<Value>("probe", "echo", json!({"n": 1}))
                .await
        })
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    broker.restart().await?;
    let began = Instant::now();
    assert_eq!(waiting.await??, json!({"n": 1}));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let realtime: Value = client
        .send_command("probe", "echo", json!({"n": 2}))
        .realtime()
        .await?;
    assert_eq!(realtime, json!({"n": 2}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_told_to_stop_while_the_server_is_away_stops() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let mut probe = spawn_probe(broker.url(), &[]).await;
    broker.kill().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    let status = probe.terminate().await;
    assert!(status.success(), "{status}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

/// A soak found it: the subscription for replies waited on, and kept the connection with it.
#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_connection() -> TestResult {
    let servers = Cluster::start(1).await;
    let config = Config::new(servers.url()).name("test");
    let client = Client::connect(config).await?;
    let agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    assert!(agent.drain().await);
    let asked = client.send_command::<u32>("worker", "double", 21);
    asked.timeout(Duration::from_millis(50)).await.ok();
    drop(client);
    eventually("the connection is closed", || async {
        let general = servers.monitoring(0, "varz").await;
        general.is_ok_and(|general| general["connections"] == 0)
    })
    .await;
    Ok(())
}
