//! A sliding window of time: what was counted in the last so many seconds, in a fixed number of slots.
//!
//! What is counted is the owner's business: calls for the breaker, tokens for the rate adaptation.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Tallies over the last `span`, forgotten slot by slot. Memory and time per call are constant.
#[derive(Debug)]
pub(super) struct Window<T> {
    slot_nanos: u64,
    slots: Box<[Option<Slot<T>>]>,
    origin: Option<Instant>,
    /// The number of the newest slot, counted from `origin`. Never goes back: a caller with a slightly older `now`
    /// (threads race) counts into the newest slot.
    newest: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    number: u64,
    tally: T,
}

impl<T: Copy + Default + AddAssign> Window<T> {
    /// A window of `slots` slots, together `span` long. Neither may be zero.
    pub(super) fn new(span: Duration, slots: u32) -> Self {
        Self {
            slot_nanos: nanos(span / slots).max(1),
            slots: vec![None; slots as usize].into(),
            origin: None,
            newest: 0,
        }
    }

    /// The tally to which something that happens `now` is added.
    pub(super) fn current(&mut self, now: Instant) -> &mut T {
        self.advance(now);
        let number = self.newest;
        let slot = &mut self.slots[(number % self.slots.len() as u64) as usize];
        if slot.is_none_or(|slot| slot.number != number) {
            *slot = None;
        }
        let fresh = Slot {
            number,
            tally: T::default(),
        };
        &mut slot.get_or_insert(fresh).tally
    }

    /// The sum over the window.
    pub(super) fn total(&mut self, now: Instant) -> T {
        self.advance(now);
        let mut total = T::default();
        self.live().for_each(|slot| total += slot.tally);
        total
    }

    /// The time over which [`total`](Self::total) was counted: from the oldest slot in use until `now`, at least the
    /// length of one slot. Shorter than the span after a silence, so that rates come out right from the first moment.
    pub(super) fn covered(&mut self, now: Instant) -> Duration {
        self.advance(now);
        let oldest = self
            .live()
            .map(|slot| slot.number)
            .min()
            .unwrap_or(self.newest);
        let since_origin = nanos(now.saturating_duration_since(self.origin.unwrap_or(now)));
        let covered = since_origin.saturating_sub(oldest * self.slot_nanos);
        Duration::from_nanos(covered.max(self.slot_nanos))
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(None);
    }

    fn live(&self) -> impl Iterator<Item = &Slot<T>> {
        let length = self.slots.len() as u64;
        self.slots
            .iter()
            .flatten()
            .filter(move |slot| slot.number + length > self.newest)
    }

    fn advance(&mut self, now: Instant) {
        let origin = *self.origin.get_or_insert(now);
        let number = nanos(now.saturating_duration_since(origin)) / self.slot_nanos;
        self.newest = self.newest.max(number);
    }
}

/// 64 bits of nanoseconds are 584 years, and divide ten times faster than 128.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::start;
    use proptest::prelude::*;

    fn window() -> Window<u32> {
        Window::new(Duration::from_secs(30), 10)
    }

    proptest! {
        #[test]
        fn total_counts_all_of_the_span_and_nothing_beyond_a_slot_more(
            gaps in prop::collection::vec(0_u64..10_000, 1..60)
        ) {
            let (start, mut window) = (start(), window());
            let mut times = Vec::new();
            let mut now = start;
            for gap in gaps {
                now += Duration::from_millis(gap);
                times.push(now);
                *window.current(now) += 1;
                let within = |span: u64| {
                    times.iter().filter(|t| now - **t < Duration::from_secs(span)).count() as u32
                };
                let total = window.total(now);
                prop_assert!(within(27) <= total && total <= within(30), "{total}");
            }
        }
    }

    #[test]
    fn a_clock_reading_from_before_counts_into_the_newest_slot() {
        let (start, mut window) = (start(), window());
        *window.current(start) += 1;
        *window.current(start + Duration::from_secs(10)) += 1;
        *window.current(start + Duration::from_secs(5)) += 1;
        assert_eq!(window.total(start), 3);
        assert_eq!(window.total(start + Duration::from_secs(31)), 2);
    }

    #[test]
    fn covered_is_the_time_since_traffic_began() {
        let (start, mut window) = (start(), window());
        assert_eq!(window.covered(start), Duration::from_secs(3));
        *window.current(start) += 1;
        let later = start + Duration::from_secs(600);
        *window.current(later) += 1;
        assert_eq!(window.covered(later), Duration::from_secs(3));
        *window.current(later + Duration::from_secs(29)) += 1;
        assert_eq!(
            window.covered(later + Duration::from_secs(29)),
            Duration::from_secs(29)
        );
    }
}
