//! What a command costs, how long it may wait, and what is kept for the critical ones.

use std::time::Duration;

use crate::Priority;
use crate::resilience::adapt::AdaptConfig;
use crate::resilience::config::{InvalidConfig, Validate, ensure};
use crate::resilience::lanes::LaneFloors;

/// The smallest bucket: two low-priority commands, and half a one to spare.
const SMALLEST_BURST: f64 = 5.0;

/// The settings of a [`RateLimiter`](super::RateLimiter).
///
/// What a command costs is fixed by its lane: `low` 2 tokens, `normal` 1, `high` and `critical` 0.5. So when the rate is
/// short, low-priority work slows first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimiterConfig {
    /// How the rate follows the target.
    pub adapt: AdaptConfig,
    /// So many tokens may pile up as the rate makes in this time (5 at least). Default 100 ms: enough to keep the
    /// target busy between two turns of a scheduler, too little to flood it. Up to a minute.
    pub burst: Duration,
    /// What only `critical` may use: so many tokens on credit as the rate makes in this time; the others wait until they
    /// are paid back. As many again are kept for it of what is held back while a target works off its queue; what is
    /// owed then is forgiven at the end. Default 1 s: critical commands go on at once while what comes behind them is
    /// slowed, and are slowed themselves only when they alone are too many. Up to a minute.
    pub reserve: Duration,
    /// How long a command waits for its turn; less where its deadline is nearer. Default 1 s: who waits longer is better
    /// told so, and retries with backoff. Up to an hour.
    pub max_wait: Duration,
    /// Commands that wait at once, per target. Default 10,000: a few megabytes of futures. At least 1.
    pub max_waiting: usize,
    /// How often a lane is passed over before its turn.
    pub floors: LaneFloors,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        Self {
            adapt: AdaptConfig::default(),
            burst: Duration::from_millis(100),
            reserve: Duration::from_secs(1),
            max_wait: Duration::from_secs(1),
            max_waiting: 10_000,
            floors: LaneFloors::default(),
        }
    }
}

impl Validate for LimiterConfig {
    fn validate(&self) -> Result<(), InvalidConfig> {
        self.adapt.validate()?;
        self.floors.validate()?;
        ensure(
            self.burst <= Duration::from_secs(60),
            "burst",
            self.burst,
            "up to 60 s",
        )?;
        ensure(
            self.reserve <= Duration::from_secs(60),
            "reserve",
            self.reserve,
            "up to 60 s",
        )?;
        ensure(
            self.max_wait <= Duration::from_secs(3600),
            "max_wait",
            self.max_wait,
            "up to 1 h",
        )?;
        ensure(
            self.max_waiting >= 1,
            "max_waiting",
            self.max_waiting,
            "at least 1",
        )
    }
}

impl LimiterConfig {
    /// The burst that goes with a rate.
    pub(super) fn burst_of(&self, rate: f64) -> f64 {
        (rate * self.burst.as_secs_f64()).max(SMALLEST_BURST)
    }

    /// What may be owed at a rate, and what is kept beside it at most.
    pub(super) fn credit_of(&self, rate: f64) -> f64 {
        rate * self.reserve.as_secs_f64()
    }
}

/// What a command of this lane takes from the bucket.
pub(super) fn weight(lane: Priority) -> f64 {
    match lane {
        Priority::Critical | Priority::High => 0.5,
        Priority::Normal => 1.0,
        Priority::Low => 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Checked;

    #[test]
    fn bounds_are_enforced() {
        assert!(Checked::new(LimiterConfig::default()).is_ok());
        let check = |field, change: fn(&mut LimiterConfig)| {
            let mut config = LimiterConfig::default();
            change(&mut config);
            assert_eq!(Checked::new(config).unwrap_err().field, field);
        };
        check("busy", |c| c.adapt.busy = 0.0);
        check("low", |c| c.floors.low = 0);
        check("burst", |c| c.burst = Duration::MAX);
        check("reserve", |c| c.reserve = Duration::MAX);
        check("max_wait", |c| c.max_wait = Duration::MAX);
        check("max_waiting", |c| c.max_waiting = 0);
    }

    #[test]
    fn every_lane_fits_the_smallest_bucket() {
        assert!(2.0 * weight(Priority::Low) <= SMALLEST_BURST);
    }
}
