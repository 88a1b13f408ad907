//! When a breaker opens, for how long, and what closes it.

use std::time::Duration;

use crate::resilience::config::{InvalidConfig, Validate, ensure};

/// The settings of a [`CircuitBreaker`](super::CircuitBreaker).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// Outcomes older than this are forgotten. Default 30 s: long enough for 20 calls to a quiet target, short enough
    /// that yesterday's trouble does not count. From 10 ms to an hour.
    pub window: Duration,
    /// The slots the window is forgotten in. Default 10: a tenth of the evidence at a time. 1 to 100.
    pub buckets: u32,
    /// Fewer calls in the window never open the breaker. Default 20: with fewer, two failures of four would be "half of
    /// all calls". At least 1.
    pub min_calls: u32,
    /// The part of failed calls that opens the breaker. Default 0.5. Over 0, up to 1.
    pub failure_rate: f64,
    /// The part of slow calls that opens the breaker. Default 0.8: higher than for failures, as a slow answer is still an
    /// answer. Over 0, up to 1.
    pub slow_rate: f64,
    /// A call that takes this long is slow; `None` judges no call by its time. Default 60 s: the actions of one agent
    /// differ by orders of magnitude, so only what is slow for nearly all of them can be a default. Over 0.
    pub slow_call: Option<Duration>,
    /// How long the breaker stays open at first; doubles with each round of failed probes. Default 5 s: a restart
    /// takes about that. At least 1 ms.
    pub open_for: Duration,
    /// What the doubling stops at. Default 60 s: a target that is back waits no longer than a minute. From `open_for`
    /// to an hour.
    pub open_max: Duration,
    /// The part by which an open time varies up and down. Default 0.2, so that the callers of a target do not probe it
    /// in step. From 0 to below 1.
    pub open_jitter: f64,
    /// Calls let through when half-open. Default 3: more than one, so that one lost packet proves nothing; few enough
    /// not to hurt a target that is just getting up. At least 1.
    pub probes: u32,
    /// Successful probes that close the breaker. Default 2. From 1 to `probes`.
    pub probes_to_close: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            buckets: 10,
            min_calls: 20,
            failure_rate: 0.5,
            slow_rate: 0.8,
            slow_call: Some(Duration::from_secs(60)),
            open_for: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            open_jitter: 0.2,
            probes: 3,
            probes_to_close: 2,
        }
    }
}

impl Validate for BreakerConfig {
    fn validate(&self) -> Result<(), InvalidConfig> {
        const HOUR: Duration = Duration::from_secs(3600);
        const MILLI: Duration = Duration::from_millis(1);
        let c = self;
        let is_rate = |rate| rate > 0.0 && rate <= 1.0;
        ensure(
            (10 * MILLI..=HOUR).contains(&c.window),
            "window",
            c.window,
            "from 10 ms to 1 h",
        )?;
        ensure(
            (1..=100).contains(&c.buckets),
            "buckets",
            c.buckets,
            "from 1 to 100",
        )?;
        ensure(c.min_calls >= 1, "min_calls", c.min_calls, "at least 1")?;
        ensure(
            is_rate(c.failure_rate),
            "failure_rate",
            c.failure_rate,
            "over 0, up to 1",
        )?;
        ensure(
            is_rate(c.slow_rate),
            "slow_rate",
            c.slow_rate,
            "over 0, up to 1",
        )?;
        let slow_call_holds = c.slow_call.is_none_or(|slow| !slow.is_zero());
        ensure(
            slow_call_holds,
            "slow_call",
            c.slow_call,
            "longer than nothing",
        )?;
        ensure(c.open_for >= MILLI, "open_for", c.open_for, "at least 1 ms")?;
        ensure(
            (c.open_for..=HOUR).contains(&c.open_max),
            "open_max",
            c.open_max,
            "from `open_for` to 1 h",
        )?;
        ensure(
            (0.0..1.0).contains(&c.open_jitter),
            "open_jitter",
            c.open_jitter,
            "from 0 to below 1",
        )?;
        ensure(c.probes >= 1, "probes", c.probes, "at least 1")?;
        ensure(
            (1..=c.probes).contains(&c.probes_to_close),
            "probes_to_close",
            c.probes_to_close,
            "from 1 to `probes`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Checked;

    #[test]
    fn bounds_are_enforced() {
        assert!(Checked::new(BreakerConfig::default()).is_ok());
        let check = |field, change: fn(&mut BreakerConfig)| {
            let mut config = BreakerConfig::default();
            change(&mut config);
            assert_eq!(Checked::new(config).unwrap_err().field, field);
        };
        check("window", |c| c.window = Duration::ZERO);
        check("buckets", |c| c.buckets = 0);
        check("min_calls", |c| c.min_calls = 0);
        check("failure_rate", |c| c.failure_rate = f64::NAN);
        check("slow_rate", |c| c.slow_rate = 1.1);
        check("slow_call", |c| c.slow_call = Some(Duration::ZERO));
        check("open_for", |c| c.open_for = Duration::ZERO);
        check("open_max", |c| c.open_max = Duration::from_secs(4));
        check("open_jitter", |c| c.open_jitter = 1.0);
        check("probes", |c| c.probes = 0);
        check("probes_to_close", |c| c.probes_to_close = 4);
    }
}
