//! The places in which handlers run, and the bytes of the bodies that are here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::load::Running;

/// Commands that were sent away for a while, at most. With more, the intake closes until some are through: to take in and
/// put back a whole queue would be work without end.
const MOST_AWAY: u32 = 500;

/// As many places as the agent has capacity, and as many bytes.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    freed: Arc<Notify>,
    aside: Arc<AtomicU32>,
    away: Arc<AtomicU32>,
    capacity: u32,
    bytes: Arc<Bytes>,
}

/// Bytes of bodies: all that are here, and those in which handlers work.
struct Bytes {
    capacity: u64,
    here: AtomicU64,
    begun: AtomicU64,
}

/// A body that is here; dropping it gives its bytes back.
pub(super) struct Held {
    slots: Slots,
    here: u64,
    begun: u64,
}

/// One place; dropping it gives it back.
pub(super) struct Slot {
    slots: Slots,
    permit: Option<OwnedSemaphorePermit>,
    running: Option<Running>,
}

impl Slots {
    pub(super) fn new(capacity: u32, capacity_bytes: u64) -> Self {
        Self {
            bytes: Arc::new(Bytes {
                capacity: capacity_bytes,
                here: AtomicU64::new(0),
                begun: AtomicU64::new(0),
            }),
            free: Arc::new(Semaphore::new(capacity as usize)),
            freed: Arc::default(),
            aside: Arc::default(),
            away: Arc::default(),
            capacity,
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity.into()
    }

    pub(super) fn in_use(&self) -> u64 {
        match self.too_many_wait() {
            true => self.capacity(),
            false => self.capacity() - self.free.available_permits() as u64,
        }
    }

    pub(super) fn try_take(&self) -> Option<Slot> {
        if self.too_many_wait() {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot {
            slots: self.clone(),
            permit: Some(permit),
            running: None,
        })
    }

    /// Takes a place for a body of this size.
    pub(super) fn place_for(&self, size: u64) -> Option<Slot> {
        match self.fits(size) {
            true => self.try_take(),
            false => None,
        }
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.bytes.capacity
    }

    /// Bytes that may still come.
    pub(super) fn free_bytes(&self) -> u64 {
        let here = self.bytes.here.load(Ordering::Relaxed);
        self.bytes.capacity.saturating_sub(here)
    }

    /// Whether a handler may begin with a body of this size: one that is larger than all there is room for may when no
    /// other runs.
    pub(super) fn fits(&self, size: u64) -> bool {
        let begun = self.bytes.begun.load(Ordering::Relaxed);
        begun == 0 || begun.saturating_add(size) <= self.bytes.capacity
    }

    /// Counts a body that has come.
    pub(super) fn hold(&self, size: u64) -> Held {
        self.bytes.here.fetch_add(size, Ordering::Relaxed);
        Held {
            slots: self.clone(),
            here: size,
            begun: 0,
        }
    }

    /// More wait aside than there are places: an agent must not take in a whole queue that it cannot work on. Those
    /// aside give their places back all the same, or nobody could come back whom the others wait for.
    fn too_many_wait(&self) -> bool {
        self.aside.load(Ordering::Relaxed) > self.capacity
    }

    /// Waits until a place was given back since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Slot {
    /// Has what runs here counted as load, except while it is aside.
    pub(super) fn counts(mut self, running: Running) -> Self {
        self.running = Some(running);
        self
    }

    /// Gives the place back while the command only waits.
    pub(super) fn step_aside(&mut self) {
        if self.permit.is_some() {
            self.slots.aside.fetch_add(1, Ordering::Relaxed);
            self.leave_place();
        }
    }

    /// As [`step_aside`](Self::step_aside), where fewer wait aside than there are places, or no more can be sent away;
    /// tells whether it did.
    pub(super) fn try_step_aside(&mut self) -> bool {
        if self.permit.is_none() {
            return true;
        }
        let (aside, capacity) = (&self.slots.aside, self.slots.capacity);
        let one_more = |aside: u32| (aside < capacity).then(|| aside + 1);
        let entered = aside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        match entered {
            Ok(_) => self.leave_place(),
            Err(_) if self.slots.away.load(Ordering::Relaxed) >= MOST_AWAY => self.step_aside(),
            Err(_) => return false,
        }
        true
    }

    fn leave_place(&mut self) {
        self.permit = None;
        if let Some(running) = &mut self.running {
            running.pause();
        }
        self.slots.freed.notify_one();
    }

    /// Counts the command as sent away for so long; it has not come to its work.
    pub(super) fn goes_away(&mut self, time: Duration) {
        if let Some(running) = &mut self.running {
            running.pause();
        }
        let away = Arc::clone(&self.slots.away);
        away.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            away.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Takes a place again, before whatever has not begun yet.
    pub(super) async fn step_back(&mut self) {
        if self.permit.is_none() {
            // The semaphore is never closed.
            self.permit = Arc::clone(&self.slots.free).acquire_owned().await.ok();
            self.slots.aside.fetch_sub(1, Ordering::Relaxed);
            if let Some(running) = &mut self.running {
                running.go_on();
            }
            self.slots.freed.notify_one();
        }
    }
}

impl Held {
    /// Counts the whole body, with what it claims, as one in which a handler works.
    pub(super) fn begin(&mut self, size: u64) {
        let bytes = &self.slots.bytes;
        let claimed = size.saturating_sub(self.here);
        bytes.here.fetch_add(claimed, Ordering::Relaxed);
        bytes.begun.fetch_add(size, Ordering::Relaxed);
        (self.here, self.begun) = (self.here + claimed, size);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = &self.slots.bytes;
        bytes.here.fetch_sub(self.here, Ordering::Relaxed);
        bytes.begun.fetch_sub(self.begun, Ordering::Relaxed);
        self.slots.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.permit.take().is_none() {
            self.slots.aside.fetch_sub(1, Ordering::Relaxed);
        }
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_waits_takes_no_place() {
        let slots = Slots::new(1, 10);
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

    #[tokio::test]
    async fn a_command_that_waits_is_no_load() {
        let meter = Arc::new(crate::receive::LoadMeter::new(1));
        let utilization = || meter.load().utilization;
        let slots = Slots::new(1, 10);
        let slot = slots.try_take().unwrap();
        let mut slot = slot.counts(meter.begin(Duration::ZERO));
        assert_eq!(utilization(), 1.0);
        slot.step_aside();
        assert_eq!(utilization(), 0.0);
        slot.step_back().await;
        assert_eq!(utilization(), 1.0);
        drop(slot);
        assert_eq!(utilization(), 0.0);
    }

    #[tokio::test]
    async fn whom_the_others_wait_for_can_always_come_back() {
        let slots = Slots::new(1, 10);
        let mut leader = slots.try_take().unwrap();
        leader.step_aside();
        let mut follower = slots.try_take().unwrap();
        follower.step_aside();
        let back = tokio::time::timeout(std::time::Duration::from_secs(5), leader.step_back());
        assert!(
            back.await.is_ok(),
            "the follower holds the place that its leader needs"
        );
    }

    #[test]
    fn bytes_are_counted_from_arrival_to_end() {
        let slots = Slots::new(4, 10);
        let (mut first, second) = (slots.hold(6), slots.hold(3));
        assert_eq!(slots.free_bytes(), 1);
        assert!(slots.fits(20), "nothing runs");
        first.begin(6);
        assert!(slots.fits(4) && !slots.fits(5));
        let mut claim = slots.hold(0);
        claim.begin(4);
        assert_eq!(slots.free_bytes(), 0);
        drop((first, second, claim));
        assert_eq!(slots.free_bytes(), 10);
        assert!(slots.fits(11));
    }

    #[tokio::test]
    async fn whoever_finds_no_room_aside_keeps_its_place_until_too_many_are_away() {
        let slots = Slots::new(1, 10);
        let mut first = slots.try_take().unwrap();
        assert!(first.try_step_aside() && first.try_step_aside());
        let mut second = slots.try_take().unwrap();
        assert!(!second.try_step_aside());
        assert_eq!(slots.in_use(), 1, "the intake is open but for its place");
        for _ in 0..MOST_AWAY {
            second.goes_away(Duration::from_secs(60));
        }
        assert!(second.try_step_aside(), "nowhere else to go");
        assert!(slots.try_take().is_none(), "and the intake is closed");
    }

    #[test]
    fn no_more_wait_aside_than_there_are_places() {
        let slots = Slots::new(1, 10);
        let mut first = slots.try_take().unwrap();
        first.step_aside();
        let mut second = slots.try_take().unwrap();
        second.step_aside();
        assert!(slots.try_take().is_none(), "two wait already");
        drop((first, second));
        assert_eq!(
            (slots.in_use(), slots.aside.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
