//! The death of an engine, at a place that is counted.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

/// At most one crash of a run.
pub(super) struct Crash {
    /// Which of the places passed it strikes at.
    at: Option<u64>,
    passed: AtomicU64,
    down: watch::Sender<bool>,
    place: Mutex<String>,
}

impl Crash {
    pub(super) fn never() -> Arc<Self> {
        Self::new(None)
    }

    pub(super) fn at(point: u64) -> Arc<Self> {
        Self::new(Some(point))
    }

    fn new(at: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            at,
            passed: AtomicU64::new(0),
            down: watch::channel(false).0,
            place: Mutex::default(),
        })
    }

    /// Passes a place; whether the engine dies there.
    pub(super) fn strikes(&self, place: impl FnOnce() -> String) -> bool {
        let strikes = self.at == Some(self.passed.fetch_add(1, Ordering::Relaxed));
        if strikes {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place();
            self.down.send_replace(true);
        }
        strikes
    }

    /// Passes a place in the code of a state. Never returns when the engine dies there, or is dead.
    pub(super) async fn pass(&self, place: impl FnOnce() -> String) {
        if *self.down.borrow() || self.strikes(place) {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the engine is dead.
    pub(super) async fn is_down(&self) {
        let mut down = self.down.subscribe();
        // The sender lives as long as `self`.
        let _ = down.wait_for(|down| *down).await;
    }

    /// Another engine is there.
    pub(super) fn recover(&self) {
        self.down.send_replace(false);
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Where it struck, in words.
    pub(super) fn place(&self) -> String {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }
}
