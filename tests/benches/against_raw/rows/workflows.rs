//! Workflows: transitions of five states with trivial handlers and 1 KiB of data, against the same number of raw
//! compare-and-set writes.
//!
//! The starts are stored beforehand; then an engine begins with them. So what is timed is the engine: taking a task,
//! running, writing, publishing its events, acknowledging. Its share of the start, a fifth of each transition, is in it.

mod engine;
mod stock;

use std::time::Duration;

use crate::{
    Failed,
    raw::{Buckets, Chains},
    rounds::Rounds,
    server::{Server, Sync},
    settings::Scale,
    table::Unit,
};

use engine::{Definition, Engine};

pub(crate) async fn run(rounds: &mut Rounds) -> Result<(), Failed> {
    if !rounds.settings().wants_some("workflows") {
        return Ok(());
    }
    cached(rounds).await?;
    // Some thousand writes, each with its own sync, take too long for a first look.
    match rounds.settings().scale {
        Scale::Quick => Ok(()),
        Scale::Main | Scale::Full => synced(rounds).await,
    }
}

async fn cached(rounds: &mut Rounds) -> Result<(), Failed> {
    let server = Server::start(Sync::Cached).await?;
    let engine = Engine::new(server.sharded(1).await?, 1).await?;
    let raw = Buckets::create(server.raw().await?, 1).await?;
    for parallel in [1, 64, 256] {
        for definition in [Definition::Lifecycle, Definition::All] {
            let name = format!("workflows, {parallel} in parallel, {definition}");
            transitions(rounds, &name, &engine, &raw, definition, parallel).await?;
        }
    }
    by_hand(rounds, &engine, &Chains::create(server.raw().await?).await?).await
}

/// What of the distance to raw writes is the engine's, and what the protocol's: the other side sends the same messages.
async fn by_hand(rounds: &mut Rounds, engine: &Engine, hand: &Chains) -> Result<(), Failed> {
    const PARALLEL: usize = 256;
    let definition = Definition::Lifecycle;
    let name = format!(
        "workflows, {PARALLEL} in parallel, {definition}, against the same messages by hand"
    );
    if !rounds.settings().wants(&name) {
        return Ok(());
    }
    let least = stock::smallest(PARALLEL);
    let first = engine.rate(definition, PARALLEL, least).await?;
    let size = engine.record_size().await?;
    let first_by_hand = hand.rate(PARALLEL, size, least).await?;
    let ours = async |window: Duration| {
        let workflows = stock::lasting(window, first, PARALLEL);
        engine.rate(definition, PARALLEL, workflows).await
    };
    let hand = async |window: Duration| {
        let workflows = stock::lasting(window, first_by_hand, PARALLEL);
        hand.rate(PARALLEL, size, workflows).await
    };
    rounds.row(&name, Unit::PerSecond, ours, hand).await
}

async fn synced(rounds: &mut Rounds) -> Result<(), Failed> {
    let widths: &[usize] = match rounds.settings().scale {
        Scale::Quick | Scale::Main => &[256],
        Scale::Full => &[1, 64, 256],
    };
    for shards in [1, 8] {
        let server = Server::start(Sync::Always).await?;
        let engine = Engine::new(server.sharded(shards).await?, shards).await?;
        let raw = Buckets::create(server.raw().await?, shards).await?;
        for parallel in widths.iter().copied() {
            let definition = Definition::Lifecycle;
            let name =
                format!("workflows, {parallel} in parallel, {definition}, synced, {shards} shards");
            transitions(rounds, &name, &engine, &raw, definition, parallel).await?;
        }
    }
    Ok(())
}

async fn transitions(
    rounds: &mut Rounds,
    name: &str,
    engine: &Engine,
    raw: &Buckets,
    definition: Definition,
    parallel: usize,
) -> Result<(), Failed> {
    if !rounds.settings().wants(name) {
        return Ok(());
    }
    // A first stock tells how large the others must be to last for a window, and how large a record is.
    let first = engine
        .rate(definition, parallel, stock::smallest(parallel))
        .await?;
    let size = engine.record_size().await?;
    let ours = async |window: Duration| {
        let workflows = stock::lasting(window, first, parallel);
        engine.rate(definition, parallel, workflows).await
    };
    let raw = async |window: Duration| raw.rate(parallel, size, window).await;
    rounds.row(name, Unit::PerSecond, ours, raw).await
}
