//! A token bucket: so many a second, so many at once. Refilled by the time that passes, not by a timer.

use std::time::{Duration, Instant};

/// Sums of fractions are off by some billionths, and a told wait by half a nanosecond; a taker who waited exactly as
/// told must not fail by that.
const ROUNDING: f64 = 1e-6;
const NANOSECOND: f64 = 1e-9;

/// The longest wait that is told; at the slowest rates the truth would be an overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Tokens that come at a constant rate and pile up to `burst`. What a command takes of them is its weight.
///
/// ```
/// use mcp_runtime::resilience::TokenBucket;
/// use std::time::{Duration, Instant};
///
/// let now = Instant::now();
/// let mut bucket = TokenBucket::new(10.0, 2.0, now); // 10 a second, 2 at once; starts full
/// assert!(bucket.try_take(1.5, now).is_ok());
/// assert_eq!(bucket.try_take(1.0, now), Err(Duration::from_millis(50)));
/// assert!(bucket.try_take(1.0, now + Duration::from_millis(50)).is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
}

impl TokenBucket {
    /// Makes a full bucket with `rate` tokens per second and room for `burst`. Neither may be negative or NaN: then it
    /// counts as 0.
    pub fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self {
            rate: rate.max(0.0),
            burst: burst.max(0.0),
            tokens: burst.max(0.0),
            refilled: now,
        }
    }

    /// Takes `weight` tokens.
    ///
    /// # Errors
    /// There are not that many: how long until there would be, if nobody else takes any.
    pub fn try_take(&mut self, weight: f64, now: Instant) -> Result<(), Duration> {
        self.try_take_leaving(0.0, weight, now)
    }

    /// Takes `weight` tokens if at least `least` are left then. A negative `least` is credit: the bucket may fall so far
    /// below nothing, and what it owes is paid back by the tokens that come.
    ///
    /// A weight that together with `least` is over the burst is treated as one that needs a full bucket.
    ///
    /// # Errors
    /// There are not that many: how long until there would be, if nobody else takes any.
    pub fn try_take_leaving(
        &mut self,
        least: f64,
        weight: f64,
        now: Instant,
    ) -> Result<(), Duration> {
        self.refill(now);
        let needed = (least + weight).min(self.burst);
        if self.tokens + ROUNDING + self.rate * NANOSECOND < needed {
            return Err(self.time_for(needed - self.tokens));
        }
        self.tokens = (self.tokens - weight).max(least.min(0.0));
        Ok(())
    }

    /// Returns the tokens that are there; fewer than none are owed.
    pub fn available(&mut self, now: Instant) -> f64 {
        self.refill(now);
        self.tokens
    }

    /// Returns the tokens per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the most tokens that pile up.
    pub fn burst(&self) -> f64 {
        self.burst
    }

    /// Changes rate and burst from now on. What has piled up stays, as far as it still has room.
    pub fn set_rate(&mut self, rate: f64, burst: f64, now: Instant) {
        self.refill(now);
        self.rate = rate.max(0.0);
        self.burst = burst.max(0.0);
        self.tokens = self.tokens.min(self.burst);
    }

    /// Lets no more than `debt` be owed: the rest is forgiven.
    pub fn forgive(&mut self, debt: f64) {
        self.tokens = self.tokens.max(-debt.max(0.0));
    }

    /// Returns how long `tokens` take to come.
    pub fn time_for(&self, tokens: f64) -> Duration {
        Duration::try_from_secs_f64((tokens / self.rate).max(0.0))
            .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.rate).min(self.burst);
        self.refilled = self.refilled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::start;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_gives_more_than_rate_times_time_plus_burst(
            rate in 0.1_f64..10_000.0, burst in 1.0_f64..100.0,
            takes in prop::collection::vec((0_u64..50_000, 0.1_f64..3.0), 1..300)
        ) {
            let start = start();
            let (mut now, mut given) = (start, 0.0);
            let mut bucket = TokenBucket::new(rate, burst, now);
            for (gap, weight) in takes {
                now += Duration::from_micros(gap);
                // A weight over the burst is served by a full bucket: then that is what it gave.
                if bucket.try_take(weight, now).is_ok() {
                    given += weight.min(burst);
                }
                let most = burst + rate * (now - start).as_secs_f64();
                prop_assert!(given <= most + 0.01, "{given} of {most}");
            }
        }

        #[test]
        fn whoever_waits_as_told_succeeds(
            rate in 0.1_f64..10_000.0, burst in 1.0_f64..100.0, weight in 0.1_f64..3.0, drained in 0.0_f64..100.0
        ) {
            let now = start();
            let mut bucket = TokenBucket::new(rate, burst, now);
            let _ = bucket.try_take(drained.min(burst), now);
            if let Err(wait) = bucket.try_take(weight, now) {
                prop_assert!(bucket.try_take(weight, now + wait).is_ok());
            }
        }

        #[test]
        fn a_reserve_is_never_touched(reserve in 0.0_f64..5.0, weights in prop::collection::vec(0.1_f64..3.0, 1..50)) {
            let now = start();
            let mut bucket = TokenBucket::new(1.0, 10.0, now);
            for weight in weights {
                let _ = bucket.try_take_leaving(reserve, weight, now);
                prop_assert!(bucket.available(now) + ROUNDING >= reserve);
            }
        }
    }

    #[test]
    fn what_is_owed_is_paid_back_before_others_go_on() {
        let now = start();
        let mut bucket = TokenBucket::new(10.0, 1.0, now);
        for _ in 0..3 {
            assert!(bucket.try_take_leaving(-2.0, 1.0, now).is_ok());
        }
        assert!(
            bucket.try_take_leaving(-2.0, 1.0, now).is_err(),
            "two are owed"
        );
        assert_eq!(bucket.try_take(1.0, now), Err(Duration::from_millis(300)));
        bucket.forgive(1.0);
        assert_eq!(bucket.try_take(1.0, now), Err(Duration::from_millis(200)));
    }

    #[test]
    fn a_rate_of_nothing_tells_a_long_wait_and_does_not_panic() {
        let now = start();
        let mut bucket = TokenBucket::new(0.0, 1.0, now);
        assert!(bucket.try_take(1.0, now).is_ok());
        assert_eq!(bucket.try_take(1.0, now), Err(LONGEST_WAIT));
        assert_eq!(TokenBucket::new(f64::NAN, -1.0, now).burst(), 0.0);
    }

    #[test]
    fn a_clock_reading_from_before_neither_gives_nor_takes() {
        let now = start() + Duration::from_secs(1);
        let mut bucket = TokenBucket::new(10.0, 10.0, now);
        assert!(bucket.try_take(10.0, now).is_ok());
        assert_eq!(bucket.available(now - Duration::from_millis(500)), 0.0);
        assert_eq!(bucket.available(now + Duration::from_millis(500)), 5.0);
    }
}
