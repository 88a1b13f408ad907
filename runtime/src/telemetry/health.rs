//! Whether an instance can be given work. Nobody is asked for it: these are things that it knows of itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// A runtime that has not come to its own tasks for so long hangs: its work is better done elsewhere, and its process started
/// anew. Far above what a handler that blocks is expected to take.
pub const HUNG_AFTER: Duration = Duration::from_secs(120);

/// Longer than the intake ever pauses by itself, which is 5 s: then it is stuck.
const STUCK: Duration = Duration::from_secs(15);

/// When a loop last turned.
#[derive(Debug)]
pub(crate) struct Pulse {
    since: Instant,
    beaten_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            beaten_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// The loop turns.
    pub(crate) fn beat(&self) {
        self.beaten_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub(crate) fn silent_for(&self) -> Duration {
        let beaten_ms = self.beaten_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.now_ms().saturating_sub(beaten_ms))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The health of one instance. Cheap to clone; it keeps a connection alive, not the worker.
#[derive(Clone)]
pub struct Health {
    client: Client,
    pulse: Arc<Pulse>,
    drain: CancellationToken,
}

impl Health {
    pub(crate) fn new(client: Client, pulse: Arc<Pulse>, drain: CancellationToken) -> Self {
        Self {
            client,
            pulse,
            drain,
        }
    }

    /// Why the instance should be given no work at the moment; `None` when it is ready.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.drain.is_cancelled() {
            Some("draining")
        } else if !self.client.is_connected() {
            Some("not connected to the server")
        } else if self.pulse.silent_for() > STUCK {
            Some("not pulling")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_is_noticed() {
        let pulse = Pulse::default();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(pulse.silent_for() > STUCK);
        pulse.beat();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pulse.silent_for(), Duration::from_secs(1));
    }
}
