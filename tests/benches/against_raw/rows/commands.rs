//! Commands: durable and realtime round trips, with an idempotency key, submitted.
//!
//! The handler answers with its parameters. The raw side does the same with the same bytes in one task; see `raw/command.rs`.

use std::time::Duration;

use bytes::Bytes;
use mcp_agent_sdk::{Agent, Client, Context, McpError, runtime::transport::new_message_id};

use crate::{
    Failed, load,
    load::Measured,
    raw::{Caller, PackCaller, Packs, Worker},
    rounds::Rounds,
    server::{Server, Sync},
    settings::Scale,
    table::Unit,
};

const AGENT: &str = "echo";

/// As many handlers as the widest row has commands under way: what is measured is the path, not the queue before it.
const CAPACITY: u32 = 1_024;

/// How a command of ours travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Durable,
    /// In packs, as commands of the lane normal do by themselves.
    Packed,
    Keyed,
    Realtime,
}

async fn echo(_ctx: Context, text: String) -> Result<String, McpError> {
    Ok(text)
}

pub(crate) async fn run(rounds: &mut Rounds) -> Result<(), Failed> {
    if !["durable", "packed", "realtime", "submit"]
        .iter()
        .any(|word| rounds.settings().wants_some(word))
    {
        return Ok(());
    }
    let scale = rounds.settings().scale;
    group(rounds, Sync::Cached, scale).await?;
    if scale >= Scale::Main {
        group(rounds, Sync::Always, scale).await?;
    }
    Ok(())
}

async fn group(rounds: &mut Rounds, sync: Sync, scale: Scale) -> Result<(), Failed> {
    let server = Server::start(sync).await?;
    let agent_side = server.ours("bench").await?;
    let agent = Agent::new(AGENT)
        .on("echo", echo)
        .capacity(CAPACITY)
        .start(&agent_side)
        .await?;
    let _worker = Worker::start(server.raw().await?).await?;
    let packs = Packs::start(server.raw().await?, server.raw().await?).await?;
    let sides = Sides {
        ours: server.unpacked("bench").await?,
        packing: server.ours("bench").await?,
        packs: packs.caller(),
        raw: Caller::start(server.raw().await?).await?,
        suffix: if sync == Sync::Always { ", synced" } else { "" },
    };
    for (parallel, size) in widths(sync, scale) {
        sides
            .round_trip(rounds, Kind::Durable, parallel, size)
            .await?;
    }
    for (parallel, size) in widths(sync, scale) {
        sides
            .round_trip(rounds, Kind::Packed, parallel, size)
            .await?;
    }
    for parallel in [1, 256] {
        if sync == Sync::Cached {
            sides
                .round_trip(rounds, Kind::Realtime, parallel, 256)
                .await?;
        }
    }
    if sync == Sync::Cached || scale == Scale::Full {
        sides.round_trip(rounds, Kind::Keyed, 256, 256).await?;
        sides.submit(rounds).await?;
    }
    agent.drain().await;
    Ok(())
}

/// Commands under way at once, and the size of each.
fn widths(sync: Sync, scale: Scale) -> Vec<(usize, usize)> {
    let all = [1, 64, 256, 1_024];
    let small = all.map(|parallel| (parallel, 256));
    let large = all.map(|parallel| (parallel, 4_096));
    match (sync, scale) {
        (Sync::Cached, Scale::Quick) => small.to_vec(),
        (Sync::Always, Scale::Quick | Scale::Main) => vec![(256, 256)],
        (Sync::Cached, _) | (_, Scale::Full) => [small, large].concat(),
    }
}

struct Sides {
    ours: Client,
    packing: Client,
    raw: Caller,
    packs: PackCaller,
    suffix: &'static str,
}

impl Sides {
    async fn round_trip(
        &self,
        rounds: &mut Rounds,
        kind: Kind,
        parallel: usize,
        size: usize,
    ) -> Result<(), Failed> {
        let what = match kind {
            Kind::Durable => "durable round trip",
            Kind::Packed => "packed round trip",
            Kind::Keyed => "durable round trip with idempotency key",
            Kind::Realtime => "realtime round trip",
        };
        let name = format!("{what}, {parallel} in flight, {size} B{}", self.suffix);
        // Alone, a command is as fast as its way is short; many are as fast as the busiest part.
        let (unit, figure): (Unit, fn(Measured) -> f64) = match parallel {
            1 => (Unit::MicrosP50, |measured| measured.p50_us),
            _ => (Unit::PerSecond, |measured| measured.rate),
        };
        let text = "x".repeat(size);
        let body = Bytes::from(text.clone());
        let client = match kind {
            Kind::Packed => &self.packing,
            _ => &self.ours,
        };
        let ours = async |window: Duration| {
            let (client, text) = (client.clone(), text.clone());
            let send = move || {
                let (client, text) = (client.clone(), text.clone());
                async move { send(&client, kind, &text).await }
            };
            Ok(figure(load::closed(parallel, window, send).await?))
        };
        let raw = async |window: Duration| {
            let (caller, packs, body) = (self.raw.clone(), self.packs.clone(), body.clone());
            let send = move || {
                let (caller, packs, body) = (caller.clone(), packs.clone(), body.clone());
                async move {
                    match kind {
                        Kind::Packed => packs.command(body).await,
                        Kind::Realtime => caller.request(body).await,
                        _ => caller.command(body).await,
                    }
                }
            };
            Ok(figure(load::closed(parallel, window, send).await?))
        };
        rounds.row(&name, unit, ours, raw).await
    }

    /// Handed over: done when it is stored. Nobody takes the commands meanwhile, on either side.
    async fn submit(&self, rounds: &mut Rounds) -> Result<(), Failed> {
        const STORED: &str = "raw.stored";
        const PARALLEL: usize = 256;
        self.raw.create_store(STORED).await?;
        let text = "x".repeat(256);
        let body = Bytes::from(text.clone());
        let ours = async |window: Duration| {
            let (client, text) = (self.ours.clone(), text.clone());
            let submit = move || {
                let (client, text) = (client.clone(), text.clone());
                async move {
                    client.submit_command("nobody", "echo", text).await?;
                    Ok(())
                }
            };
            Ok(load::closed(PARALLEL, window, submit).await?.rate)
        };
        let raw = async |window: Duration| {
            let (caller, body) = (self.raw.clone(), body.clone());
            let store = move || {
                let (caller, body) = (caller.clone(), body.clone());
                async move { caller.store(STORED, body).await }
            };
            Ok(load::closed(PARALLEL, window, store).await?.rate)
        };
        let name = format!("submit, {PARALLEL} in flight, 256 B{}", self.suffix);
        rounds.row(&name, Unit::PerSecond, ours, raw).await
    }
}

async fn send(client: &Client, kind: Kind, text: &str) -> Result<(), Failed> {
    let command = client.send_command::<String>(AGENT, "echo", text);
    let command = match kind {
        Kind::Durable | Kind::Packed => command,
        Kind::Keyed => command.idempotency_key(new_message_id()),
        Kind::Realtime => command.realtime(),
    };
    let answer = command.await?;
    // A benchmark of wrong answers would be fast.
    if answer.len() == text.len() {
        Ok(())
    } else {
        Err("another answer than was sent".into())
    }
}
