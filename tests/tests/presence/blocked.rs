//! Handlers that block every thread of their runtime.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_agent_sdk::{AgentChange, Agents, SendError, TestBroker};
use serde_json::json;

use crate::{TestResult, notices::events, peer::Peer};

/// Twice what the server waits for a sign of life before it delivers a message again.
const BLOCKED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_every_thread_is_blocked_is_neither_dead_nor_robbed() -> TestResult {
    survives("2", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_only_thread_is_blocked_is_neither_dead_nor_robbed() -> TestResult {
    survives("0", 1).await
}

async fn survives(threads: &str, at_once: usize) -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _blocker = Peer::start(&["blocker", broker.url(), threads]).await;
    let mut view = Agents::of(&client).agent("blocker").watch().await?;
    assert_eq!(view.snapshot().len(), 1);

    let began = Instant::now();
    let block = || {
        let parameters = json!({ "ms": BLOCKED.as_millis() as u64 });
        let command = client.send_command::<u64>("blocker", "block", parameters);
        async { command.timeout(3 * BLOCKED).await }
    };
    let blocked = join_all((0..at_once).map(|_| block()));
    let probe = async {
        tokio::time::sleep(BLOCKED / 4).await;
        let ask = client.send_command::<u64>("blocker", "block", json!({ "ms": 0 }));
        ask.realtime().timeout(BLOCKED / 4).await
    };
    let (deliveries, probed) = tokio::join!(blocked, probe);
    assert!(began.elapsed() >= BLOCKED, "it took {:?}", began.elapsed());
    assert!(
        matches!(probed, Err(SendError::Timeout { .. })),
        "nothing else ran meanwhile: {probed:?}"
    );
    for delivery in deliveries {
        assert_eq!(delivery?, 1, "the server has delivered it again");
    }
    let pending = view.next();
    if let Ok(Some(AgentChange::Offline { last, gone })) =
        tokio::time::timeout(Duration::from_secs(1), pending).await
    {
        panic!("{} counted as {gone:?}", last.instance);
    }
    assert_eq!(view.current().len(), 1);
    assert_eq!(
        events(&client, "blocker", "instance_offline").await?.len(),
        0
    );
    Ok(())
}
