//! F3 and F4: servers are killed, replaced and stopped.

use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::faults::{Failed, check::LEADER_KILLED, history::now_ms, scene::Scene};

use super::Extent;

/// F3: whoever leads the commands; of one server, the server.
pub(super) async fn dies(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let (rounds, what, between) = match (scene.extent, scene.servers.count()) {
        (Extent::Quick, _) => (2, "kill of the server", 500..2_000),
        (Extent::Full, 1) => (8, "kill of the server", 500..2_000),
        (Extent::Full, _) => (5, LEADER_KILLED, 8_000..12_000),
    };
    let client = scene.client().await?;
    for _ in 0..rounds {
        let before = scene.random.random_range(between.clone());
        scene.settle(Duration::from_millis(before)).await;
        let away = scene.random.random_range(0..2_000);
        let leader = scene.servers.leader(&client).await?;
        let from_ms = now_ms();
        let cluster = &mut scene.servers.cluster;
        cluster.end(leader, Signal::KILL).await;
        sleep(Duration::from_millis(away)).await;
        cluster.revive(leader).await;
        scene.recorder.broke(what, None, from_ms);
    }
    scene.settle(Duration::from_secs(2)).await;
    Ok(())
}

/// F3: each is ended and started again, as an update does.
pub(super) async fn roll(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    for _ in 0..2 {
        scene.settle(Duration::from_secs(3)).await;
        let from_ms = now_ms();
        scene.servers.cluster.roll().await;
        scene.recorder.broke("rolling restart", None, from_ms);
    }
    scene.settle(Duration::from_secs(3)).await;
    Ok(())
}

/// F3: all at once.
pub(super) async fn all_die(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    for _ in 0..3 {
        scene.settle(Duration::from_secs(3)).await;
        let from_ms = now_ms();
        let cluster = &mut scene.servers.cluster;
        for at in 0..cluster.size() {
            cluster.end(at, Signal::KILL).await;
        }
        // None is healthy alone.
        cluster.revive_all().await;
        scene.recorder.broke("kill of all servers", None, from_ms);
    }
    scene.settle(Duration::from_secs(3)).await;
    Ok(())
}

/// F4: frozen, and neither dead nor alive for the others.
pub(super) async fn stops(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let client = scene.client().await?;
    let longer = scene.random.random_range(15..30);
    for seconds in [6, longer, 60] {
        scene.settle(Duration::from_secs(4)).await;
        let leader = scene.servers.leader(&client).await?;
        let from_ms = now_ms();
        scene.servers.cluster.signal(leader, Signal::STOP);
        sleep(Duration::from_secs(seconds)).await;
        scene.servers.cluster.signal(leader, Signal::CONT);
        scene.recorder.broke("stop of the leader", None, from_ms);
    }
    scene.settle(Duration::from_secs(5)).await;
    Ok(())
}
