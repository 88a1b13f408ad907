//! What a target says about its load, smoothed over the instances that say it.

use std::time::{Duration, Instant};

use super::config::AdaptConfig;

/// Reports of the last half second weigh most: replies come by the hundred and from instances that differ, heartbeats
/// every few seconds and then count in full.
const MEMORY: Duration = Duration::from_millis(500);

/// For what has to be noticed at once: a queue that has run empty.
const MOMENT: Duration = Duration::from_millis(100);

/// Two heartbeats. What is older is not known any more.
const STALE: Duration = Duration::from_secs(10);

/// A target with this part of its capacity in use, or less, has room for more.
const ROOMY: f64 = 0.8;

/// What a target says beyond this is not so, or no help: with it one can still reckon.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The `load` of a reply or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadReport {
    /// How many commands the instance runs at once, at most.
    pub capacity: u32,
    /// The part of it in use, 0 to 1.
    pub utilization: f64,
    /// How long commands wait before they run, 95th percentile.
    pub queue_wait_p95: Duration,
}

/// The smoothed load of a target.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    seen: Option<Instant>,
    capacity: f64,
    utilization: f64,
    utilization_now: f64,
    queue_wait: f64,
}

impl Load {
    pub(super) fn take_in(&mut self, report: LoadReport, now: Instant) {
        let age = self.seen.map(|seen| now.saturating_duration_since(seen));
        let keep = |memory: Duration| {
            age.map_or(0.0, |age| (-age.as_secs_f64() / memory.as_secs_f64()).exp())
        };
        let blend_over =
            |memory, old: f64, new: f64| old * keep(memory) + new * (1.0 - keep(memory));
        let blend = |old, new| blend_over(MEMORY, old, new);
        let utilization = if report.utilization.is_nan() {
            0.0
        } else {
            report.utilization.clamp(0.0, 1.0)
        };
        self.capacity = blend(self.capacity, f64::from(report.capacity));
        self.utilization = blend(self.utilization, utilization);
        self.utilization_now = blend_over(MOMENT, self.utilization_now, utilization);
        self.queue_wait = blend(
            self.queue_wait,
            report.queue_wait_p95.min(LONGEST_WAIT).as_secs_f64(),
        );
        self.seen = Some(self.seen.map_or(now, |seen| seen.max(now)));
    }

    /// The target has more than it can do.
    pub(super) fn is_over(&self, config: &AdaptConfig, now: Instant) -> bool {
        self.is_busy(config, now) && self.queue_wait >= config.queue_wait.as_secs_f64()
    }

    /// The target has as much as it should get: more would only queue.
    pub(super) fn is_full(&self, config: &AdaptConfig, now: Instant) -> bool {
        self.is_busy(config, now) && self.queue_wait >= config.queue_wait.as_secs_f64() / 2.0
    }

    /// By how much the target could be sent more before it is well used: 1.6 is 60 % more. `None` where it has no free
    /// handler to speak of, or has not said.
    pub(super) fn room(&self, config: &AdaptConfig, now: Instant) -> Option<f64> {
        let free_handlers = (1.0 - self.utilization) * self.capacity;
        let queues = self.queue_wait >= config.queue_wait.as_secs_f64() / 2.0;
        if !self.is_known(now) || self.utilization > ROOMY || free_handlers < 1.0 || queues {
            return None;
        }
        Some(ROOMY / self.utilization.max(0.01))
    }

    /// How long commands wait, as smoothed.
    pub(super) fn queue_wait(&self) -> Duration {
        Duration::try_from_secs_f64(self.queue_wait).unwrap_or_default()
    }

    pub(super) fn is_busy(&self, config: &AdaptConfig, now: Instant) -> bool {
        self.is_known(now) && self.utilization >= config.busy
    }

    pub(super) fn is_busy_now(&self, config: &AdaptConfig) -> bool {
        self.utilization_now >= config.busy
    }

    fn is_known(&self, now: Instant) -> bool {
        self.seen
            .is_some_and(|seen| now.saturating_duration_since(seen) < STALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::start;

    fn report(utilization: f64, wait_ms: u64) -> LoadReport {
        LoadReport {
            capacity: 8,
            utilization,
            queue_wait_p95: Duration::from_millis(wait_ms),
        }
    }

    #[test]
    fn reads_over_full_and_roomy() {
        let check = |utilization, wait_ms, over, full, roomy| {
            let (config, now) = (AdaptConfig::default(), start());
            let mut load = Load::default();
            load.take_in(report(utilization, wait_ms), now);
            let read = (load.is_over(&config, now), load.is_full(&config, now));
            assert_eq!(read, (over, full), "{utilization} {wait_ms}");
            assert_eq!(load.room(&config, now).is_some(), roomy);
        };
        check(1.0, 600, true, true, false);
        check(1.0, 300, false, true, false);
        check(1.0, 100, false, false, false);
        check(0.5, 600, false, false, false);
        check(0.5, 100, false, false, true);
        check(0.0, 0, false, false, true);
        check(f64::NAN, 0, false, false, true);
    }

    #[test]
    fn one_odd_reply_among_many_changes_little() {
        let (config, mut now) = (AdaptConfig::default(), start());
        let mut load = Load::default();
        for _ in 0..100 {
            now += Duration::from_millis(10);
            load.take_in(report(0.5, 0), now);
        }
        load.take_in(report(1.0, 5_000), now + Duration::from_millis(1));
        assert!(!load.is_over(&config, now));
    }

    #[test]
    fn what_was_said_long_ago_is_not_known() {
        let (config, now) = (AdaptConfig::default(), start());
        let mut load = Load::default();
        load.take_in(report(1.0, 9_000), now);
        assert!(!load.is_over(&config, now + STALE));
    }
}
