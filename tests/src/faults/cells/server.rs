//! What happens to servers.

use std::time::Duration;

use rand::Rng;

use crate::faults::{Failed, history::now_ms, scene::Scene, servers::Servers};

use super::Extent;

/// F3.
pub(super) async fn dies(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let rounds = match scene.extent {
        Extent::Quick => 2,
        Extent::Full => 8,
    };
    for _ in 0..rounds {
        let before = scene.random.random_range(500..2_000);
        scene.settle(Duration::from_millis(before)).await;
        let away = scene.random.random_range(0..2_000);
        let from_ms = now_ms();
        let Servers::Single(broker) = &mut scene.servers;
        broker.kill().await?;
        tokio::time::sleep(Duration::from_millis(away)).await;
        broker.restart().await?;
        scene.recorder.broke("kill of the server", None, from_ms);
    }
    scene.settle(Duration::from_secs(2)).await;
    Ok(())
}
