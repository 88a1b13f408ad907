//! Open flow: a stock of work is worked off, and its middle is timed.
//!
//! Beginning and end are left out: until all places are taken, and when fewer than that are left, the rate is another.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use crate::Failed;

/// Longer than any stock takes; then something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts what is worked off.
pub(crate) struct Flow {
    total: u64,
    seen: AtomicU64,
    /// When a tenth was done, and when nine tenths were.
    marks: Mutex<(Option<Instant>, Option<Instant>)>,
    done: Notify,
}

impl Flow {
    /// Nothing of `total` is done; at least 10.
    pub(crate) fn of(total: u64) -> Self {
        Self {
            total: total.max(10),
            seen: AtomicU64::new(0),
            marks: Mutex::default(),
            done: Notify::new(),
        }
    }

    /// One more is done.
    pub(crate) fn note(&self) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let tenth = self.total / 10;
        if seen == tenth {
            self.marks().0 = Some(Instant::now());
        } else if seen == tenth * 9 {
            self.marks().1 = Some(Instant::now());
        }
        if seen == self.total {
            self.done.notify_one();
        }
    }

    /// Waits until all is done; the rate in between, a second.
    pub(crate) async fn rate(&self) -> Result<f64, Failed> {
        timeout(PATIENCE, self.done.notified()).await.map_err(|_| {
            let seen = self.seen.load(Ordering::Relaxed);
            format!("{seen} of {} done in {PATIENCE:?}", self.total)
        })?;
        match *self.marks() {
            (Some(from), Some(until)) => {
                Ok((self.total / 10 * 8) as f64 / (until - from).as_secs_f64())
            }
            _ => Err("all is done, and nine tenths are not".into()),
        }
    }

    fn marks(&self) -> std::sync::MutexGuard<'_, (Option<Instant>, Option<Instant>)> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
