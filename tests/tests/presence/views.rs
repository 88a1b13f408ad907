//! What a live view goes through: a server that forgets everyone.

use std::time::Duration;

use mcp_agent_sdk::{Agent, AgentChange, Agents, Gone, TestBroker};

use crate::{TestResult, nothing, notices::events, peer::Peer};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_takes_nobody_out_of_view_but_those_who_died_meanwhile() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let interval = Duration::from_secs(1);
    let lives = Agent::new("crowd")
        .on("nothing", nothing)
        .heartbeat_interval(interval);
    let lives = lives.start(&client).await?;
    let mut peer = Peer::start(&["crowd", broker.url(), "1", "1000"]).await;
    let mut view = Agents::of(&client).agent("crowd").watch().await?;
    assert_eq!(view.snapshot().len(), 2);

    broker.kill().await?;
    peer.kill().await;
    broker.restart().await?;
    let gone = async {
        loop {
            match view.next().await {
                Some(AgentChange::Offline { last, gone }) => return Some((last, gone)),
                Some(AgentChange::Changed { .. }) => {}
                other => panic!("not expected: {other:?}"),
            }
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(30), gone).await?;
    let Some((last, Gone::Silent)) = gone else {
        panic!("not expected: {gone:?}");
    };
    assert_ne!(last.instance, lives.instance().as_str());
    let left = view.current();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].instance, lives.instance().as_str());
    assert_eq!(
        events(&client, "crowd", "instance_offline").await?.len(),
        0,
        "nobody expired"
    );
    Ok(())
}
