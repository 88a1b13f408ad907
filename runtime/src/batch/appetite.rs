//! How many commands at once a target wants: from what its replies tell of its load and its handlers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::message::{Load, Reply};

/// A target whose median handler takes so long gets no packs: what one pack saves is nothing beside it, and other instances
/// could have had its members.
pub(crate) const SLOW_HANDLER: Duration = Duration::from_millis(5);

/// Members of a pack at most: more gain nothing, and a pack is the work of one instance.
const MOST_MEMBERS: usize = 64;

/// With less room than this a pack is not worth its order.
const FEWEST_MEMBERS: usize = 4;

/// Two heartbeats. What is older is not known any more.
const STALE: Duration = Duration::from_secs(10);

/// What is known of one target.
#[derive(Default)]
pub(crate) struct Appetite {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    free: u32,
    told: Option<Instant>,
    /// One bit for each of the last 64 replies: whether the handler was slow.
    slow: u64,
    replies: u32,
}

impl Appetite {
    /// Takes in what a reply tells.
    pub(crate) fn observe(&self, reply: &Reply, now: Instant) {
        let mut known = self.lock();
        if let Some(load) = &reply.load {
            known.take_in(load, now);
        }
        // A replay has run no handler.
        if let Some(took) = reply.processing_ms.filter(|_| !reply.replayed) {
            known.slow = (known.slow << 1) | u64::from(took >= SLOW_HANDLER.as_secs_f64() * 1000.0);
            known.replies = known.replies.saturating_add(1);
        }
    }

    /// Takes in what a presence record tells.
    pub(crate) fn observe_load(&self, load: &Load, now: Instant) {
        self.lock().take_in(load, now);
    }

    /// Members of a pack at most; 1 where there are to be no packs.
    pub(crate) fn limit(&self, now: Instant) -> usize {
        let known = self.lock();
        let fresh = known
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < STALE);
        let slow = known.slow.count_ones() * 2 > known.replies.min(64);
        let free = known.free as usize;
        match fresh && !slow && free >= FEWEST_MEMBERS {
            true => free.min(MOST_MEMBERS),
            false => 1,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take_in(&mut self, load: &Load, now: Instant) {
        self.free = load.capacity.saturating_sub(load.in_flight);
        self.told = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(in_flight: u32) -> Load {
        Load {
            in_flight,
            capacity: 100,
            utilization: 0.0,
            queue_wait_p95_ms: 0.0,
        }
    }

    #[test]
    fn no_pack_is_larger_than_what_is_free() {
        let now = Instant::now();
        let appetite = Appetite::default();
        assert_eq!(appetite.limit(now), 1, "nothing is known");
        for (in_flight, expected) in [(0, 64), (80, 20), (97, 1), (100, 1), (120, 1)] {
            appetite.observe_load(&load(in_flight), now);
            assert_eq!(appetite.limit(now), expected);
        }
        appetite.observe_load(&load(0), now);
        assert_eq!(appetite.limit(now + STALE), 1, "that was long ago");
    }

    #[test]
    fn slow_handlers_get_none() {
        let now = Instant::now();
        let appetite = Appetite::default();
        let observe = |ms: f64| {
            let reply = serde_json::json!({
                "v": 1, "kind": "response", "id": "x", "command_id": "y", "source": "a", "instance": "i", "attempt": 1,
                "status": "ok", "processing_ms": ms,
                "load": { "in_flight": 0, "capacity": 100, "utilization": 0.0, "queue_wait_p95_ms": 0.0 },
            });
            appetite.observe(&serde_json::from_value(reply).unwrap(), now);
        };
        observe(5.0);
        assert_eq!(appetite.limit(now), 1);
        observe(0.1);
        assert_eq!(appetite.limit(now), 64, "not more than half are slow");
        (0..64).for_each(|_| observe(5.1));
        (0..31).for_each(|_| observe(0.1));
        assert_eq!(appetite.limit(now), 1, "33 of 64 are slow");
        observe(0.1);
        assert_eq!(appetite.limit(now), 64);
    }
}
