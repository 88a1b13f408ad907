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
    running: Mutex<HashMap<String, Executions>>,
    cancelled: Cache<String, ()>,
}

/// Everything under one command id: another attempt or delivery may wait while the first still runs.
#[derive(Default)]
struct Executions {
    token: CancellationToken,
    count: usize,
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
        if let Some(executions) = self.table().get(command_id) {
            executions.token.cancel();
        }
    }

    /// Enters a command that is about to run; its token is cancelled already if its id is.
    pub(super) fn enter(&self, command_id: &str) -> Running<'_> {
        let token = {
            let mut table = self.table();
            let executions = table.entry(command_id.to_owned()).or_default();
            executions.count += 1;
            executions.token.clone()
        };
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

    fn table(&self) -> MutexGuard<'_, HashMap<String, Executions>> {
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
        let mut table = self.cancellations.table();
        if let Some(executions) = table.get_mut(&self.command_id) {
            executions.count -= 1;
            if executions.count == 0 {
                table.remove(&self.command_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_reaches_every_execution_of_an_id() {
        let cancellations = Cancellations::new();
        let running = cancellations.enter("a");
        drop(cancellations.enter("a"));
        let waiting = cancellations.enter("a");
        cancellations.cancel("a");
        assert!(running.token.is_cancelled() && waiting.token.is_cancelled());
        drop((running, waiting));
        assert!(cancellations.table().is_empty());
        assert!(
            cancellations.enter("a").token.is_cancelled(),
            "an id is remembered"
        );
        assert!(!cancellations.enter("b").token.is_cancelled());
    }
}
