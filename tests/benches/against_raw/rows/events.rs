//! Events: published, and received by a durable subscription.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context,
        stream::{Config, StorageType},
    },
};
use bytes::Bytes;
use mcp_agent_sdk::{Agent, Client, Context as Handling, Event, McpError, Start, Subscription};

use crate::{
    Failed,
    flow::Flow,
    load, raw,
    rounds::Rounds,
    server::{Server, Sync},
    settings::Scale,
    table::Unit,
};

const SUBJECT: &str = "raw.event";
const STREAM: &str = "raw_events";

/// Publishes under way at once, on both sides.
const PARALLEL: usize = 1_024;

const SIZE: usize = 256;

pub(crate) async fn run(rounds: &mut Rounds) -> Result<(), Failed> {
    if !rounds.settings().wants_some("events") {
        return Ok(());
    }
    let server = Server::start(Sync::Cached).await?;
    let ours = server.ours("bench").await?;
    let jetstream = jetstream::new(server.raw().await?);
    let stream = Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        storage: StorageType::File,
        duplicate_window: Duration::from_secs(120),
        ..Config::default()
    };
    jetstream.create_stream(stream).await?;
    published(rounds, &ours, &jetstream).await?;
    // Another server: the stock must be what the consumers find, and nothing else.
    consumed(rounds).await
}

async fn published(
    rounds: &mut Rounds,
    client: &Client,
    jetstream: &Context,
) -> Result<(), Failed> {
    let name = format!("events published, {PARALLEL} in flight, {SIZE} B");
    let text = "x".repeat(SIZE);
    let ours = async |window: Duration| {
        let (client, text) = (client.clone(), text.clone());
        let publish = move || {
            let (client, text) = (client.clone(), text.clone());
            async move { Ok(client.publish("ticked", &text).await?) }
        };
        Ok(load::closed(PARALLEL, window, publish).await?.rate)
    };
    let raw = async |window: Duration| {
        let until = std::time::Instant::now() + window;
        let next = || (std::time::Instant::now() < until).then(outgoing);
        raw::publish(jetstream, next).await
    };
    rounds.row(&name, Unit::PerSecond, ours, raw).await
}

async fn consumed(rounds: &mut Rounds) -> Result<(), Failed> {
    let server = Server::start(Sync::Cached).await?;
    let client = server.ours("bench").await?;
    let jetstream = jetstream::new(server.raw().await?);
    let total: u64 = match rounds.settings().scale {
        Scale::Quick => 20_000,
        Scale::Main => 100_000,
        Scale::Full => 300_000,
    };
    let stream = Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        storage: StorageType::File,
        ..Config::default()
    };
    jetstream.create_stream(stream).await?;
    let mut left = total;
    raw::publish(&jetstream, || {
        left = left.checked_sub(1)?;
        Some(outgoing())
    })
    .await?;
    stock(&client, total).await?;
    let mut subscriptions = 0;
    let ours = async |_| {
        subscriptions += 1;
        receive(&client, &format!("round_{subscriptions}"), total).await
    };
    let raw = async |_| raw::consume(&jetstream, STREAM, total).await;
    let name = format!("events consumed, a stock of {total}, {SIZE} B");
    rounds.row(&name, Unit::PerSecond, ours, raw).await
}

/// Publishes exactly so many events of ours.
async fn stock(client: &Client, total: u64) -> Result<(), Failed> {
    let text = "x".repeat(SIZE);
    let publishing = (0..PARALLEL as u64).map(|task| {
        let (client, text) = (client.clone(), text.clone());
        async move {
            for _ in (task..total).step_by(PARALLEL) {
                client.publish("ticked", &text).await?;
            }
            Ok::<_, Failed>(())
        }
    });
    futures_util::future::try_join_all(publishing)
        .await
        .map(drop)
}

/// Receives all of them by a new subscription; a second.
async fn receive(client: &Client, subscription: &str, total: u64) -> Result<f64, Failed> {
    let flow = Arc::new(Flow::of(total));
    let all = Subscription::to("bench", "ticked")
        .named(subscription)
        .start(Start::All)
        .concurrency(PARALLEL as u32);
    let agent = Agent::with_state("watcher", Arc::clone(&flow)).on_events(all, note);
    let agent = agent.start(client).await?;
    let rate = flow.rate().await;
    agent.drain().await;
    rate
}

async fn note(ctx: Handling<Arc<Flow>>, _event: Event<String>) -> Result<(), McpError> {
    ctx.state().note();
    Ok(())
}

fn outgoing() -> (String, HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(
        "Nats-Msg-Id",
        mcp_agent_sdk::runtime::transport::new_message_id(),
    );
    (
        SUBJECT.to_owned(),
        headers,
        Bytes::from_static(&[b'x'; SIZE]),
    )
}
