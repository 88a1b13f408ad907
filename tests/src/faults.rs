//! Breaking it on purpose: a seeded load under a fault, its recorded history, and a checker that decides afterwards.
//!
//! [`run`] plays one [`Cell`] of the matrix: [`load`](load) sends, a file in [`cells`](cells) breaks something,
//! [`world`](world) looks at what is left, and [`check`](check), which is pure, says what of I1 to I6 does not hold.
//! The seed decides who sends what in which order and when the fault strikes whom; what the machine makes of it in
//! time is its own, so the history is written down beside it.

mod cells;
mod check;
mod crew;
mod drain;
mod history;
mod load;
mod report;
mod scene;
mod servers;
mod soak;
mod world;

use std::path::{Path, PathBuf};

use tokio::time::Instant;

pub use cells::{Cell, Extent, Fault, STEPS};
pub use check::{Invariant, Violation};
pub use report::Report;
pub use soak::{Soaked, Vitals, soak};

use scene::Scene;

/// Why a cell could not be played.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A cell that this machine cannot play; nothing is wrong with what it would have tried.
#[derive(Debug)]
pub struct NotHere(pub(crate) String);

impl std::fmt::Display for NotHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

/// Plays one cell and judges it; its history is left in `folder`.
///
/// # Errors
/// When the cell cannot be played at all; what does not hold is in the report.
pub async fn run(cell: Cell, seed: u64, extent: Extent, folder: &Path) -> Result<Report, Failed> {
    let began = Instant::now();
    let mut scene = Scene::new(cell, seed, extent).await?;
    cells::play(&mut scene).await?;
    let world = drain::drain(&mut scene).await?;
    let history = scene.close().await;
    let judged = check::check(&history, &world);
    let written = folder.join(format!("{}-{seed}.json", cell.file_name()));
    write(&written, &history, &world)?;
    Ok(Report::of(
        cell,
        seed,
        &history,
        &judged,
        written,
        began.elapsed(),
    ))
}

/// An error with its causes.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn write(path: &PathBuf, history: &history::History, world: &world::World) -> Result<(), Failed> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let both = serde_json::json!({ "history": history, "world": world });
    std::fs::write(path, serde_json::to_vec_pretty(&both)?)?;
    Ok(())
}
