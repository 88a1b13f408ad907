//! One line for each cell of the matrix.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    cells::Cell,
    check::{Judged, Violation},
    history::{Ending, History},
};

/// What came of a cell.
#[derive(Debug)]
pub struct Report {
    /// Which cell.
    pub cell: Cell,
    /// Replays it.
    pub seed: u64,
    /// What clients began.
    pub operations: usize,
    /// Of these, what ended with a result or an acknowledgement.
    pub went_well: usize,
    /// How often something was broken.
    pub faults: usize,
    /// Acknowledged and gone.
    pub lost: usize,
    /// Keys that were executed more than once.
    pub doubled: usize,
    /// The longest from a healing to the next success.
    pub recovery: Duration,
    /// The longest without a success, while there was load.
    pub stall: Duration,
    /// How long it took.
    pub took: Duration,
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// Where the history lies.
    pub history: PathBuf,
}

impl Report {
    pub(super) fn of(
        cell: Cell,
        seed: u64,
        history: &History,
        judged: &Judged,
        written: PathBuf,
        took: Duration,
    ) -> Self {
        let good = history.operations.iter().filter(|operation| {
            matches!(
                operation.ended,
                Some((_, Ending::Stored | Ending::Answered { .. }))
            )
        });
        Self {
            cell,
            seed,
            operations: history.operations.len(),
            went_well: good.count(),
            faults: history.broken.len(),
            lost: judged.lost,
            doubled: judged.doubled,
            recovery: Duration::from_millis(judged.recovery_ms),
            stall: Duration::from_millis(judged.stall_ms),
            took,
            violations: judged.violations.clone(),
            history: written,
        }
    }

    /// The names of the columns of a report's line.
    #[must_use]
    pub fn header() -> String {
        format!(
            "{:<38} {:>10} {:>9} {:>6} {:>4} {:>7} {:>8} {:>7} {:>5}  {}",
            "cell",
            "operations",
            "went well",
            "faults",
            "lost",
            "doubled",
            "recovery",
            "stall",
            "took",
            "holds"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = match self.violations.len() {
            0 => "I1-I6".to_owned(),
            count => format!("NOT: {count} violations"),
        };
        write!(
            f,
            "{:<38} {:>10} {:>9} {:>6} {:>4} {:>7} {:>6.1} s {:>5.1} s {:>3} s  {holds}",
            self.cell.to_string(),
            self.operations,
            self.went_well,
            self.faults,
            self.lost,
            self.doubled,
            self.recovery.as_secs_f64(),
            self.stall.as_secs_f64(),
            self.took.as_secs(),
        )
    }
}
