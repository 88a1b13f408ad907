//! What is told of instances that come and go: once, however many see it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, jetstream::stream};
use mcp_agent_sdk::{Agent, AgentChange, Agents, AgentsView, Client, Gone, TestBroker};
use mcp_tests::eventually;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{TestResult, nothing, peer::Peer};

/// What a loss may take to be seen, beyond three intervals.
const SLACK: Duration = Duration::from_secs(2);

/// The data of all events of this name that were ever stored.
pub(crate) async fn events(
    client: &Client,
    agent: &str,
    event: &str,
) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let stream = client.jetstream().get_stream("mcp_events").await?;
    let subject = format!("mcp.evt.{agent}.{event}");
    let mut found = Vec::new();
    for sequence in 1..=stream.get_info().await?.state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        if message.subject.as_str() == subject {
            let event: Value = rmp_serde::from_slice(&message.payload)?;
            found.push(event["data"].clone());
        }
    }
    Ok(found)
}

/// Waits until the view has told of so many that fell silent; returns which.
async fn silent(view: &mut AgentsView, count: usize) -> Vec<String> {
    let mut gone = Vec::new();
    while gone.len() < count {
        match view.next().await {
            Some(AgentChange::Offline {
                last,
                gone: Gone::Silent,
            }) => gone.push(last.instance),
            Some(AgentChange::Changed { .. }) => {}
            other => panic!("not expected: {other:?}"),
        }
    }
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watcher_sees_a_kill_in_time_and_one_event_tells_it() -> TestResult {
    let interval = Duration::from_secs(1);
    let broker = TestBroker::start().await?;
    let (client, other) = (broker.client().await?, broker.client().await?);
    let watcher = |name: &str| {
        Agent::new(name)
            .on("nothing", nothing)
            .heartbeat_interval(interval)
    };
    let _watchers = (
        watcher("a").start(&client).await?,
        watcher("b").start(&other).await?,
    );
    let mut peer = Peer::start(&["crowd", broker.url(), "1", "1000"]).await;
    let mut views = [
        Agents::of(&client).agent("crowd").watch().await?,
        Agents::of(&other).agent("crowd").telling().watch().await?,
    ];
    let instance = views[0].snapshot()[0].instance.clone();
    peer.kill().await;
    let killed = Instant::now();
    for view in &mut views {
        let bound = tokio::time::timeout(2 * (3 * interval + SLACK), silent(view, 1));
        assert_eq!(bound.await?, [instance.as_str()]);
        assert!(
            killed.elapsed() <= 3 * interval + SLACK,
            "seen after {:?}",
            killed.elapsed()
        );
    }
    eventually("the event is stored", || async {
        events(&client, "crowd", "instance_offline")
            .await
            .is_ok_and(|told| !told.is_empty())
    })
    .await;
    // Whoever else has seen it has told it by now.
    tokio::time::sleep(interval).await;
    let told = events(&client, "crowd", "instance_offline").await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["instance"], instance.as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_and_a_clean_stop_are_seen_at_once() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let mut view = Agents::of(&client).agent("writer").watch().await?;
    let writer = Agent::new("writer")
        .on("nothing", nothing)
        .start(&client)
        .await?;
    let instance = writer.instance().to_string();
    let soon = Duration::from_secs(2);
    let online = tokio::time::timeout(soon, view.next()).await?;
    assert!(matches!(online, Some(AgentChange::Online(now)) if now.instance == instance));
    let leaving = tokio::spawn(writer.drain());
    let gone = async {
        loop {
            match view.next().await {
                Some(AgentChange::Changed { .. }) => {}
                other => return other,
            }
        }
    };
    let gone = tokio::time::timeout(soon, gone).await?;
    assert!(
        matches!(
            &gone,
            Some(AgentChange::Offline {
                gone: Gone::Left,
                ..
            })
        ),
        "{gone:?}"
    );
    assert!(leaving.await?);
    assert_eq!(
        events(&client, "writer", "instance_offline").await?.len(),
        0
    );
    let told = events(&client, "writer", "instance_online").await?;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["instance"], instance.as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_instances_20_that_die_at_once_are_told_once_each() -> TestResult {
    const PROCESSES: usize = 10;
    const EACH: usize = 20;
    let interval = Duration::from_secs(3);
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let mut peers = Vec::new();
    for _ in 0..PROCESSES {
        peers.push(Peer::start(&["crowd", broker.url(), &EACH.to_string(), "3000"]).await);
    }
    let mut view = Agents::of(&client).agent("crowd").telling().watch().await?;
    assert_eq!(view.snapshot().len(), PROCESSES * EACH);
    peers[0].kill().await;
    let killed = Instant::now();
    let bound = 3 * interval + SLACK;
    let gone = tokio::time::timeout(2 * bound, silent(&mut view, EACH)).await?;
    assert!(
        killed.elapsed() <= bound,
        "the last was seen after {:?}",
        killed.elapsed()
    );
    let gone: BTreeSet<String> = gone.into_iter().collect();
    assert_eq!(gone.len(), EACH, "none was told twice");
    eventually("20 events are stored", || async {
        let told = events(&client, "crowd", "instance_offline").await;
        told.is_ok_and(|told| told.len() >= EACH)
    })
    .await;
    tokio::time::sleep(interval).await;
    let told = events(&client, "crowd", "instance_offline").await?;
    let of: BTreeSet<String> = told
        .iter()
        .filter_map(|data| Some(data["instance"].as_str()?.to_owned()))
        .collect();
    assert_eq!((told.len(), of), (EACH, gone));
    assert_eq!(view.current().len(), (PROCESSES - 1) * EACH);
    assert_eq!(
        events(&client, "crowd", "instance_online").await?.len(),
        PROCESSES * EACH
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_long_ago_is_not_told_again() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _view = Agents::of(&client).telling().watch().await?;
    // As the server tells expiries, and as they come to a process that was held in between.
    let expired = |instance: &str, ago: Duration| {
        let at = OffsetDateTime::now_utc() - ago;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Marker-Reason", "MaxAge");
        headers.insert("Nats-Sequence", "7");
        headers.insert("Nats-Time-Stamp", at.format(&Rfc3339).unwrap().as_str());
        let subject = format!("mcp.presence.crowd.{instance}");
        let nats = client.nats().clone();
        async move { nats.publish_with_headers(subject, headers, "".into()).await }
    };
    expired("old", Duration::from_secs(100)).await?;
    expired("new", Duration::from_secs(10)).await?;
    eventually("the new one is told", || async {
        let told = events(&client, "crowd", "instance_offline").await;
        told.is_ok_and(|told| !told.is_empty())
    })
    .await;
    let told = events(&client, "crowd", "instance_offline").await?;
    assert_eq!(told, [json!({ "instance": "new", "revision": 7 })]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_refused_is_told_later() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let mut view = Agents::of(&client).agent("crowd").telling().watch().await?;
    let mut peer = Peer::start(&["crowd", broker.url(), "1", "1000"]).await;
    assert!(matches!(view.next().await, Some(AgentChange::Online(_))));
    let stream = client.jetstream().get_stream("mcp_events").await?;
    eventually("it has told that it lives", || async {
        let info = stream.get_info().await;
        info.is_ok_and(|info| info.state.messages == 1)
    })
    .await;
    let usual = stream.get_info().await?.config;
    let full = stream::Config {
        max_messages: 1,
        discard: stream::DiscardPolicy::New,
        ..usual.clone()
    };
    client.jetstream().update_stream(&full).await?;
    peer.kill().await;
    silent(&mut view, 1).await;
    assert_eq!(stream.get_info().await?.state.messages, 1, "nothing fits");
    client.jetstream().update_stream(&usual).await?;
    eventually("its death is told", || async {
        let told = events(&client, "crowd", "instance_offline").await;
        told.is_ok_and(|told| told.len() == 1)
    })
    .await;
    let lives = Agent::new("crowd").on("nothing", nothing);
    client.jetstream().update_stream(&full).await?;
    let _lives = lives.start(&client).await?;
    client.jetstream().update_stream(&usual).await?;
    eventually("it says that it lives", || async {
        let told = events(&client, "crowd", "instance_online").await;
        told.is_ok_and(|told| told.len() == 2)
    })
    .await;
    Ok(())
}
