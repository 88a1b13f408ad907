//! F5 and F6: partitions, and links that lose, slow down and stall what they carry.

use std::time::Duration;

use rand::Rng;
use tokio::time::sleep;

use crate::{
    faults::{Failed, history::now_ms, scene::Scene},
    proxy::Weather,
};

/// Who cannot be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// Whoever leads the commands, from the other servers and from clients.
    Leader,
    /// One of the others.
    Minority,
    /// All clients and agents, from all servers.
    Clients,
}

/// F5: black holes, each for longer than a lease lasts or shorter.
pub(super) async fn part(scene: &mut Scene, alone: Alone) -> Result<(), Failed> {
    scene.begin(2).await?;
    let client = scene.client().await?;
    for most in [5_000, 14_000, 30_000] {
        scene.settle(Duration::from_secs(4)).await;
        let time = Duration::from_millis(scene.random.random_range(most / 2..most));
        let whom = match (alone, scene.servers.leader(&client).await?) {
            (Alone::Clients, _) => None,
            (Alone::Leader, leader) => Some(leader),
            (Alone::Minority, leader) => Some((leader + 1) % scene.servers.count()),
        };
        let from_ms = now_ms();
        turn(scene, whom, Weather::Silent);
        sleep(time).await;
        turn(scene, whom, Weather::Fair);
        scene.recorder.broke("partition", None, from_ms);
    }
    scene.settle(Duration::from_secs(5)).await;
    Ok(())
}

fn turn(scene: &Scene, whom: Option<usize>, weather: Weather) {
    let cluster = &scene.servers.cluster;
    match whom {
        Some(at) => {
            cluster.around(at, weather);
            cluster.before(at, weather);
        }
        None => (0..cluster.size()).for_each(|at| cluster.before(at, weather)),
    }
}

/// F6: all links at once, with an interruption of them all in the middle.
pub(super) async fn bad(scene: &mut Scene, weather: Weather) -> Result<(), Failed> {
    scene.begin(2).await?;
    scene.settle(Duration::from_secs(2)).await;
    for _ in 0..2 {
        let from_ms = now_ms();
        everywhere(scene, weather);
        scene.settle(Duration::from_secs(15)).await;
        everywhere(scene, Weather::Cut);
        everywhere(scene, weather);
        scene.settle(Duration::from_secs(5)).await;
        everywhere(scene, Weather::Fair);
        scene.recorder.broke("bad links", None, from_ms);
        scene.settle(Duration::from_secs(3)).await;
    }
    Ok(())
}

fn everywhere(scene: &Scene, weather: Weather) {
    let cluster = &scene.servers.cluster;
    for at in 0..cluster.size() {
        cluster.around(at, weather);
        cluster.before(at, weather);
    }
}
