//! What happens to agents: they die at a step, are stopped, come and go.

use std::time::Duration;

use rand::{Rng, seq::SliceRandom};
use tokio::time::{Instant, sleep};

use crate::faults::{Failed, scene::Scene};

use super::Extent;

/// Where an agent can be made to die.
pub const STEPS: [&str; 23] = [
    "receive.taken",
    "receive.decoded",
    "outcome.reserved",
    "outcome.renewed",
    "receive.run",
    "receive.ran",
    "outcome.before_write",
    "outcome.written",
    "receive.before_reply",
    "receive.replied",
    "receive.acknowledged",
    "receive.buried",
    "receive.rejected",
    "receive.before_give_back",
    "receive.scheduled",
    "engine.taken",
    "engine.run",
    "engine.ran",
    "engine.before_write",
    "engine.written",
    "engine.effect",
    "engine.confirmed",
    "engine.before_ack",
];

/// Steps that are tried at once; two agents live through it.
const DOOMED_AT_ONCE: usize = 6;

/// A step that the load does not come to in this time is left alone.
const DEATH_WITHIN: Duration = Duration::from_secs(15);

/// How long the server waits before it delivers again.
const LEASE: Duration = Duration::from_secs(10);

/// F1.
pub(super) async fn die_at_each_step(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let mut steps = STEPS;
    steps.shuffle(&mut scene.random);
    let rounds = match scene.extent {
        Extent::Quick => 1,
        Extent::Full => STEPS.len().div_ceil(DOOMED_AT_ONCE),
    };
    for round in steps.chunks(DOOMED_AT_ONCE).take(rounds) {
        let mut doomed = Vec::new();
        for step in round {
            let failpoint = format!("{step}:{}", scene.random.random_range(1..6));
            doomed.extend(scene.crew.join_doomed(&failpoint).await?);
        }
        let give_up = Instant::now() + DEATH_WITHIN;
        while !doomed.is_empty() && Instant::now() < give_up {
            scene.crew.bury_the_doomed(&mut doomed);
            sleep(Duration::from_millis(10)).await;
        }
        // Who has not come to its step is killed wherever it is.
        for instance in doomed {
            if let Some(place) = scene.crew.place_of(&instance) {
                scene.crew.kill(place).await;
                scene.crew.members.remove(place);
            }
        }
    }
    Ok(())
}

/// F2.
pub(super) async fn stop_past_the_lease(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(3).await?;
    let rounds = match scene.extent {
        Extent::Quick => 1,
        Extent::Full => 4,
    };
    for _ in 0..rounds {
        scene.settle(Duration::from_secs(1)).await;
        let place = scene.random.random_range(0..scene.crew.members.len());
        let longer = Duration::from_millis(scene.random.random_range(500..3_000));
        scene.crew.pause(place, LEASE + longer).await;
    }
    scene.settle(Duration::from_secs(1)).await;
    Ok(())
}

/// F10: nothing is broken here, so nothing may run twice.
pub(super) async fn come_and_go(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(1).await?;
    let (rounds, most) = match scene.extent {
        Extent::Quick => (1, 4),
        Extent::Full => (3, 8),
    };
    for _ in 0..rounds {
        while scene.crew.members.len() < most {
            scene.crew.join().await?;
        }
        scene.settle(Duration::from_secs(1)).await;
        while scene.crew.members.len() > 1 {
            let place = scene.random.random_range(0..scene.crew.members.len());
            scene.crew.dismiss(place).await;
        }
        scene.settle(Duration::from_secs(1)).await;
    }
    Ok(())
}
