//! F11: clients that repeat themselves.

use std::time::Duration;

use crate::faults::{Failed, history::Kind, load::Mix, scene::Scene};

use super::Extent;

/// The same keys by all senders at once, and later once more. Each time in a new message, which the stream's own
/// deduplication does not know: outcomes alone decide.
pub(super) async fn repeat(scene: &mut Scene) -> Result<(), Failed> {
    scene.mix = Mix {
        shares: [
            (Kind::Command, 0),
            (Kind::Keyed, 100),
            (Kind::Submit, 0),
            (Kind::Failing, 0),
            (Kind::Workflow, 0),
            (Kind::Malformed, 0),
        ],
        pause: Duration::from_millis(5),
        ..scene.mix
    };
    let time = match scene.extent {
        Extent::Quick => Duration::from_secs(3),
        Extent::Full => Duration::from_secs(15),
    };
    scene.begin(3).await?;
    scene.settle(time).await;
    scene.rest().await;
    // The same seed: the same senders ask for the same keys once more.
    scene.load().await?;
    scene.settle(time).await;
    Ok(())
}
