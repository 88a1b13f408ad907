//! The places in which handlers run.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// As many places as the agent has capacity.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    freed: Arc<Notify>,
    capacity: u32,
}

/// One place; dropping it gives it back.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    free: Arc<Semaphore>,
    freed: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            freed: Arc::default(),
            capacity,
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.into()
    }

    pub(super) fn in_use(&self) -> u64 {
        self.capacity() - self.free.available_permits() as u64
    }

    pub(super) fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot {
            permit: Some(permit),
            free: Arc::clone(&self.free),
            freed: Arc::clone(&self.freed),
        })
    }

    /// Waits until a place was given back since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Slot {
    /// Gives the place back while the command only waits for another.
    pub(super) fn step_aside(&mut self) {
        self.permit = None;
        self.freed.notify_one();
    }

    /// Takes a place again, before whatever has not begun yet.
    pub(super) async fn step_back(&mut self) {
        if self.permit.is_none() {
            // The semaphore is never closed.
            self.permit = Arc::clone(&self.free).acquire_owned().await.ok();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permit = None;
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_waits_takes_no_place() {
        let slots = Slots::new(1);
        let mut slot = slots.try_take().unwrap();
        assert!(slots.try_take().is_none());
        slot.step_aside();
        let other = slots.try_take().unwrap();
        drop(other);
        slot.step_back().await;
        assert_eq!(slots.in_use(), 1);
        drop(slot);
        assert_eq!(slots.in_use(), 0);
    }
}
