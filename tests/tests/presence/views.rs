//! What a live view goes through: a server that forgets everyone, an instance that flaps, versions side by side.

use std::{future::IntoFuture, time::Duration};

use mcp_agent_sdk::{
    Agent, AgentChange, Agents, AgentsView, Context, Gone, InstanceState, McpError, TestBroker,
};
use mcp_tests::eventually;
use rustix::process::Signal;

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
    let left = view.current();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].instance, lives.instance().as_str());
    let dead = last.instance;
    assert_ne!(dead, lives.instance().as_str());
    eventually("its death is told, though nothing expired", || async {
        let told = events(&client, "crowd", "instance_offline").await;
        told.is_ok_and(|told| !told.is_empty())
    })
    .await;
    let told = events(&client, "crowd", "instance_offline").await?;
    assert_eq!(
        told,
        [serde_json::json!({ "instance": dead, "revision": 0 })]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_unheard_by_the_view_is_missed_in_time() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let mut peer = Peer::start(&["crowd", broker.url(), "1", "1000"]).await;
    // Somebody whose record lives for minutes is no reason to wait for others.
    let slow = Agent::new("slow").on("nothing", nothing);
    let slow = slow.heartbeat_interval(Duration::from_secs(60));
    let _slow = slow.start(&client).await?;
    let mut view = Agents::of(&client).watch().await?;
    let instance = view.snapshot()[0].instance.clone();
    peer.kill().await;
    let killed = std::time::Instant::now();
    // Of what goes in this way nobody is told.
    let bucket = client.jetstream().get_stream("KV_mcp_agents").await?;
    let key = format!("$KV.mcp_agents.crowd.{instance}");
    assert_eq!(bucket.purge().filter(key).await?.purged, 1);
    let gone = comes_or_goes(&mut view).await;
    assert!(
        matches!(&gone, AgentChange::Offline { last, gone: Gone::Silent } if last.instance == instance),
        "{gone:?}"
    );
    let took = killed.elapsed();
    assert!(took <= Duration::from_secs(5), "seen after {took:?}");
    Ok(())
}

/// The next time that somebody comes or goes; whatever else changes does not count.
async fn comes_or_goes(view: &mut AgentsView) -> AgentChange {
    let next = async {
        loop {
            match view.next().await {
                Some(AgentChange::Changed { .. }) => {}
                Some(change) => return change,
                None => panic!("the view has ended"),
            }
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(30), next);
    next.await.expect("somebody comes or goes")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_flaps_stays_away_until_it_is_steady() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let peer = Peer::start(&["crowd", broker.url(), "1", "1000"]).await;
    let mut view = Agents::of(&client).agent("crowd").telling().watch().await?;
    let instance = view.snapshot()[0].instance.clone();
    // Another observer, without hysteresis, tells when it is heard of again.
    let expired = || async {
        events(&client, "crowd", "instance_offline")
            .await
            .map(|told| told.len())
    };

    peer.signal(Signal::STOP);
    let gone = comes_or_goes(&mut view).await;
    assert!(
        matches!(&gone, AgentChange::Offline { last, gone: Gone::Silent } if last.instance == instance)
    );
    peer.signal(Signal::CONT);
    eventually("it gives a sign of life", || async {
        let found = Agents::of(&client).agent("crowd").list().await;
        found.is_ok_and(|found| found.len() == 1)
    })
    .await;
    assert!(view.current().is_empty(), "one sign is not enough");
    peer.signal(Signal::STOP);
    eventually("it expires again", || async {
        expired().await.is_ok_and(|count| count == 2)
    })
    .await;
    peer.signal(Signal::CONT);
    // Of all that, the view tells only that it is back in the end.
    let back = comes_or_goes(&mut view).await;
    assert!(
        matches!(&back, AgentChange::Online(now) if now.instance == instance),
        "{back:?}"
    );
    eventually("it says so itself", || async {
        let told = events(&client, "crowd", "instance_online").await;
        told.is_ok_and(|told| told.len() == 2)
    })
    .await;
    assert_eq!(expired().await?, 2, "each silence is told once");
    Ok(())
}

async fn hold(ctx: Context, _: ()) -> Result<(), McpError> {
    ctx.cancelled().await;
    Ok(())
}

/// Waits for a change to this state.
async fn becomes(view: &mut AgentsView, state: InstanceState) {
    let changed = async {
        loop {
            match view.next().await {
                Some(AgentChange::Changed { now, .. }) if now.state == state => return,
                Some(_) => {}
                None => panic!("the view has ended"),
            }
        }
    };
    // Far below the heartbeat, far above what it takes.
    let changed = tokio::time::timeout(Duration::from_secs(15), changed);
    let why = format!("it tells that it is {state:?}");
    changed.await.expect(&why);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fills_or_has_room_again_does_not_wait_for_its_next_heartbeat()
-> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let holder = Agent::new("holder").on("hold", hold).capacity(1);
    let holder = holder.heartbeat_interval(Duration::from_secs(60));
    let _holder = holder.start(&client).await?;
    let mut view = Agents::of(&client).agent("holder").watch().await?;
    let held = client.send_command::<()>("holder", "hold", ());
    let held = tokio::spawn(held.cancel_on_drop().into_future());
    becomes(&mut view, InstanceState::Busy).await;
    held.abort();
    becomes(&mut view, InstanceState::Ready).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_shows_a_rollout() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let writer = |version: &str| Agent::new("writer").version(version).on("nothing", nothing);
    let old = writer("1.0").start(&client).await?;
    let mut view = Agents::of(&client).watch().await?;
    assert!(view.several_versions().is_empty());
    let _new = writer("1.1").start(&client).await?;
    let came = comes_or_goes(&mut view).await;
    assert!(
        matches!(&came, AgentChange::Online(now) if now.version == "1.1"),
        "{came:?}"
    );
    let both: Vec<String> = view
        .several_versions()
        .remove("writer")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(both, ["1.0", "1.1"]);
    assert!(old.drain().await);
    let went = comes_or_goes(&mut view).await;
    assert!(
        matches!(&went, AgentChange::Offline { last, .. } if last.version == "1.0"),
        "{went:?}"
    );
    assert!(view.several_versions().is_empty());
    Ok(())
}
