//! Which commands somebody wants stopped: the running ones at once, the queued ones when they come.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio_util::sync::CancellationToken;

/// How long the id of a command that was cancelled before it came is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How many such ids are remembered.
const MOST: u64 = 100_000;

pub(super) struct Cancellations {
    running: Mutex<HashMap<String, CancellationToken>>,
    cancelled: Cache<String, ()>,
}

impl Cancellations {
    pub(super) fn new() -> Self {
        Self {
            running: Mutex::default(),
            cancelled: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(REMEMBERED)
                .build(),
        }
    }

    pub(super) fn cancel(&self, command_id: &str) {
        self.cancelled.insert(command_id.to_owned(), ());
        if let Some(token) = self.table().get(command_id) {
            token.cancel();
        }
    }

    /// Enters a command that is about to run; its token is cancelled already if its id is.
    pub(super) fn enter(&self, command_id: &str) -> Running<'_> {
        let token = CancellationToken::new();
        self.table().insert(command_id.to_owned(), token.clone());
        // Looked up after the entry: a cancel that comes between finds the one or the other.
        if self.cancelled.contains_key(command_id) {
            token.cancel();
        }
        Running {
            cancellations: self,
            command_id: command_id.to_owned(),
            token,
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running command's entry; dropping it removes the entry.
pub(super) struct Running<'a> {
    cancellations: &'a Cancellations,
    command_id: String,
    pub(super) token: CancellationToken,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.cancellations.table().remove(&self.command_id);
    }
}
