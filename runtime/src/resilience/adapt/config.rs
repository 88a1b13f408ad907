//! How quickly a rate follows the target, and within which bounds.

use std::time::Duration;

use crate::resilience::config::{InvalidConfig, Validate, ensure};

/// The settings of a [`RateAdapter`](super::RateAdapter). Rates are tokens per second; a `normal` command is one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptConfig {
    /// No signal slows below this. Default 1: enough to learn that the target is well again. Over 0.
    pub min_rate: f64,
    /// Never faster than this, whatever the target says; `None` knows no such limit. Default `None`. Not below
    /// `min_rate`; with both equal the rate is fixed.
    pub max_rate: Option<f64>,
    /// At most one change up and one down in this time. Default 500 ms: a few round trips, so that a change shows its
    /// effect before the next, and ten changes in the 5 s in which the rate has to follow. From 10 ms to a minute.
    pub window: Duration,
    /// The new rate after a push back, as a part of what the target got done. Default 0.9: a tenth less works off what
    /// has piled up and still keeps the target busy. Over 0, below 1.
    pub backoff: f64,
    /// The new rate is at least this part of the old one, and is just that where the target's throughput is unknown.
    /// Default 0.5, as in TCP: two windows of wrong evidence cost three quarters, not everything. Over 0, below 1.
    pub max_cut: f64,
    /// A busy target whose commands queue this long (p95) is pushing back. Default 500 ms: below it is batching, above it
    /// is a queue that grows. Over 0.
    pub queue_wait: Duration,
    /// A target that uses this part of its capacity, or more, is busy. Default 0.9. Over 0, up to 1.
    pub busy: f64,
    /// After this long without a push back the limit is lifted. Default 30 s: a limit that was right half a minute ago
    /// says nothing about now. At least `window`.
    pub forget_after: Duration,
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            min_rate: 1.0,
            max_rate: None,
            window: Duration::from_millis(500),
            backoff: 0.9,
            max_cut: 0.5,
            queue_wait: Duration::from_millis(500),
            busy: 0.9,
            forget_after: Duration::from_secs(30),
        }
    }
}

impl Validate for AdaptConfig {
    fn validate(&self) -> Result<(), InvalidConfig> {
        let c = self;
        let is_part = |part: f64| part > 0.0 && part < 1.0;
        let windows = Duration::from_millis(10)..=Duration::from_secs(60);
        ensure(
            c.min_rate > 0.0 && c.min_rate.is_finite(),
            "min_rate",
            c.min_rate,
            "over 0",
        )?;
        ensure(
            c.max_rate
                .is_none_or(|max| max >= c.min_rate && max.is_finite()),
            "max_rate",
            c.max_rate,
            "at least `min_rate`",
        )?;
        ensure(
            windows.contains(&c.window),
            "window",
            c.window,
            "from 10 ms to 60 s",
        )?;
        ensure(is_part(c.backoff), "backoff", c.backoff, "over 0, below 1")?;
        ensure(is_part(c.max_cut), "max_cut", c.max_cut, "over 0, below 1")?;
        ensure(
            !c.queue_wait.is_zero(),
            "queue_wait",
            c.queue_wait,
            "longer than nothing",
        )?;
        ensure(
            c.busy > 0.0 && c.busy <= 1.0,
            "busy",
            c.busy,
            "over 0, up to 1",
        )?;
        ensure(
            c.forget_after >= c.window,
            "forget_after",
            c.forget_after,
            "at least `window`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Checked;

    #[test]
    fn bounds_are_enforced() {
        assert!(Checked::new(AdaptConfig::default()).is_ok());
        let check = |field, change: fn(&mut AdaptConfig)| {
            let mut config = AdaptConfig::default();
            change(&mut config);
            assert_eq!(Checked::new(config).unwrap_err().field, field);
        };
        check("min_rate", |c| c.min_rate = 0.0);
        check("max_rate", |c| c.max_rate = Some(0.5));
        check("window", |c| c.window = Duration::ZERO);
        check("backoff", |c| c.backoff = 1.0);
        check("max_cut", |c| c.max_cut = f64::NAN);
        check("queue_wait", |c| c.queue_wait = Duration::ZERO);
        check("busy", |c| c.busy = 1.5);
        check("forget_after", |c| c.forget_after = Duration::ZERO);
    }
}
