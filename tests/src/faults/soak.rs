//! A long run: mixed load, random faults, and whether anything grows that should not.
//!
//! One agent lives through all of it, the veteran; others come, die, are stopped and go. It is looked at every half minute,
//! and compared at rest: before the faults, and after them, when everything has come to its end.

mod vitals;

use std::{ops::Range, path::Path, time::Duration};

use rand::Rng;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::proxy::Weather;

use super::{
    Cell, Extent, Failed, Fault, Report, check, drain, history::now_ms, load::Mix, scene::Scene,
    write,
};

pub use vitals::Vitals;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);

/// Between two faults.
const CALM_MS: Range<u64> = 3_000..12_000;

/// Agents beside the veteran.
const OTHERS: usize = 2;

/// Before the first look everything has been used once.
const WARM_UP: Duration = Duration::from_secs(15);

/// What came of it.
#[derive(Debug)]
pub struct Soaked {
    /// As of any cell.
    pub report: Report,
    /// At rest before the faults.
    pub before: Vitals,
    /// At rest after them.
    pub after: Vitals,
    /// What has grown, in words.
    pub grown: Vec<String>,
}

/// Soaks for so long; `tell` hears every half minute how it goes.
///
/// # Errors
/// When it cannot be played at all.
pub async fn soak(
    seed: u64,
    time: Duration,
    folder: &Path,
    mut tell: impl FnMut(Duration, usize, usize, &Vitals),
) -> Result<Soaked, Failed> {
    let began = Instant::now();
    let cell = Cell {
        fault: Fault::Soak,
        servers: 1,
    };
    let mut scene = Scene::new(cell, seed, Extent::Full).await?;
    scene.mix = Mix {
        pause: Duration::from_millis(200),
        ..scene.mix
    };
    scene.begin(1).await?;
    scene.settle(WARM_UP).await;
    scene.rest().await;
    let before = vitals::at_rest(&scene).await?;
    // Other keys than those of the warm-up.
    scene.seed = seed.wrapping_add(1 << 32);
    for _ in 0..OTHERS {
        scene.crew.join().await?;
    }
    scene.load().await?;
    let mut looks = Vec::new();
    let (soaking, mut looked) = (Instant::now(), Instant::now());
    while soaking.elapsed() < time {
        let calm = scene.random.random_range(CALM_MS);
        scene.settle(Duration::from_millis(calm)).await;
        fault(&mut scene).await?;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let vitals = vitals::now(&scene).await?;
            let history = scene.recorder.so_far();
            tell(
                soaking.elapsed(),
                history.operations.len(),
                history.broken.len(),
                &vitals,
            );
            looks.push(vitals);
        }
    }
    scene.rest().await;
    scene.crew.must_live();
    while scene.crew.members.len() > 1 {
        scene.crew.dismiss(1).await;
    }
    let world = drain::drain(&mut scene).await?;
    let after = vitals::at_rest(&scene).await?;
    let history = scene.close().await;
    let judged = check::check(&history, &world);
    let written = folder.join(format!("soak-{seed}.json"));
    write(&written, &history, &world)?;
    let mut grown = vitals::grown(&before, &looks, &after);
    grown.extend(vitals::too_many_keys(&after, &history));
    Ok(Soaked {
        report: Report::of(cell, seed, &history, &judged, written, began.elapsed()),
        grown,
        before,
        after,
    })
}

/// One thing breaks and is whole again.
async fn fault(scene: &mut Scene) -> Result<(), Failed> {
    let other = scene.random.random_range(1..scene.crew.members.len());
    let from_ms = now_ms();
    let what = match scene.random.random_range(0..6) {
        0 => {
            scene.crew.kill(other).await;
            scene.crew.members.remove(other);
            return scene.crew.join().await;
        }
        1 => {
            scene.crew.pause(other, Duration::from_secs(11)).await;
            return Ok(());
        }
        2 => {
            scene.crew.dismiss(other).await;
            return scene.crew.join().await;
        }
        3 => {
            let cluster = &mut scene.servers.cluster;
            cluster.end(0, Signal::KILL).await;
            cluster.revive(0).await;
            "kill of the server"
        }
        4 => {
            let time = scene.random.random_range(2_000..9_000);
            weather(scene, Weather::Silent, time).await;
            "partition"
        }
        _ => {
            scene.servers.cluster.before(0, Weather::Cut);
            weather(scene, Weather::Lossy(5), 6_000).await;
            "bad links"
        }
    };
    scene.recorder.broke(what, None, from_ms);
    Ok(())
}

async fn weather(scene: &Scene, weather: Weather, ms: u64) {
    scene.servers.cluster.before(0, weather);
    sleep(Duration::from_millis(ms)).await;
    scene.servers.cluster.before(0, Weather::Fair);
}
