//! How long to wait before a retry: exponential, jittered, never sooner than the callee advised.
//!
//! Whether there is a retry at all is [`RetryState`](super::RetryState)'s question.

use std::time::Duration;

use super::config::{Checked, InvalidConfig, Validate, ensure};

/// Callers that got the same advice at the same moment would come back at the same moment. Up to a tenth later they
/// still come when they were told to, but not together.
const ADVICE_SPREAD: f64 = 0.1;

/// Whatever waits longer than a day is a schedule, not a retry.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How often and at what distance a command is retried.
///
/// ```
/// use mcp_runtime::resilience::{Checked, RetryConfig};
/// use std::time::Duration;
///
/// let config = Checked::new(RetryConfig { jitter: 0.0, ..RetryConfig::default() })?;
/// assert_eq!(config.delay(0, None, 0.5), Duration::from_millis(100));
/// assert_eq!(config.delay(3, None, 0.5), Duration::from_millis(800));
///
/// let advised = Some(Duration::from_secs(9));
/// assert_eq!(config.delay(0, advised, 0.5), Duration::from_secs(9));
/// # Ok::<(), mcp_runtime::resilience::InvalidConfig>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Retries after the first attempt; 0 turns retrying off. Default 3: a fourth failure in a row is rarely a blip.
    pub max_retries: u32,
    /// The longest delay before the first retry; it doubles with each. Default 100 ms, above the round trip of any
    /// healthy target near by. At least 1 ms.
    pub base_delay: Duration,
    /// What the doubling stops at. Default 5 s, so that three retries fit the patience of an interactive caller. From
    /// `base_delay` to a day.
    pub max_delay: Duration,
    /// The part of the delay that is random, 0 to 1. Default 1: full jitter spreads a crowd best.
    pub jitter: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            jitter: 1.0,
        }
    }
}

impl Validate for RetryConfig {
    fn validate(&self) -> Result<(), InvalidConfig> {
        let Self {
            base_delay,
            max_delay,
            jitter,
            ..
        } = *self;
        ensure(
            base_delay >= Duration::from_millis(1),
            "base_delay",
            base_delay,
            "at least 1 ms",
        )?;
        ensure(
            (base_delay..=LONGEST).contains(&max_delay),
            "max_delay",
            max_delay,
            "from `base_delay` to 24 h",
        )?;
        ensure(
            (0.0..=1.0).contains(&jitter),
            "jitter",
            jitter,
            "from 0 to 1",
        )
    }
}

impl Checked<RetryConfig> {
    /// Computes the delay before retry number `retry` (0 is the first).
    ///
    /// With `d = min(max_delay, base_delay * 2^retry)` it is `d * (1 - jitter * draw)`, where `draw` is uniform in
    /// 0 to 1. What the callee `advised` is a floor, even above `max_delay`; the jitter then goes on top of it, up
    /// to a tenth.
    pub fn delay(&self, retry: u32, advised: Option<Duration>, draw: f64) -> Duration {
        let random = self.jitter * draw.clamp(0.0, 1.0);
        let own = doubled(self.base_delay, self.max_delay, retry).mul_f64(1.0 - random);
        match advised {
            Some(floor) if floor >= own => floor.saturating_add(spread(floor, random)),
            _ => own,
        }
    }
}

/// `base * 2^times`, but at most `max`.
pub(super) fn doubled(base: Duration, max: Duration, times: u32) -> Duration {
    1_u32
        .checked_shl(times)
        .and_then(|factor| base.checked_mul(factor))
        .map_or(max, |delay| delay.min(max))
}

/// Fits for any floor, as the factor is below one.
fn spread(floor: Duration, random: f64) -> Duration {
    floor.mul_f64(ADVICE_SPREAD * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn configs() -> impl Strategy<Value = Checked<RetryConfig>> {
        (1_u64..10_000, 0_u64..100_000, 0.0..=1.0).prop_map(|(base, above, jitter)| {
            let config = RetryConfig {
                max_retries: 3,
                base_delay: Duration::from_millis(base),
                max_delay: Duration::from_millis(base + above),
                jitter,
            };
            Checked::new(config).unwrap()
        })
    }

    proptest! {
        #[test]
        fn unadvised_delay_lies_between_its_bounds(
            config in configs(), retry in any::<u32>(), draw in 0.0..1.0
        ) {
            let highest = doubled(config.base_delay, config.max_delay, retry);
            let lowest = highest.mul_f64(1.0 - config.jitter);
            let delay = config.delay(retry, None, draw);
            prop_assert!(lowest.saturating_sub(Duration::from_nanos(1)) <= delay && delay <= highest);
            prop_assert!(highest <= config.max_delay);
        }

        #[test]
        fn no_delay_is_sooner_than_advised(
            config in configs(), retry in any::<u32>(), draw in any::<f64>(), advised in any::<u64>()
        ) {
            let advised = Duration::from_nanos(advised);
            prop_assert!(config.delay(retry, Some(advised), draw) >= advised);
        }

        #[test]
        fn advice_above_the_own_delay_is_overrun_by_a_tenth_at_most(
            config in configs(), retry in any::<u32>(), draw in 0.0..1.0, advised in 1_000_u64..1_000_000
        ) {
            let advised = config.max_delay + Duration::from_millis(advised);
            let delay = config.delay(retry, Some(advised), draw);
            prop_assert!(delay <= advised.mul_f64(1.0 + ADVICE_SPREAD) + Duration::from_nanos(1));
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_panic() {
        let config = RetryConfig {
            max_delay: LONGEST,
            ..RetryConfig::default()
        };
        let config = Checked::new(config).unwrap();
        assert_eq!(config.delay(u32::MAX, None, 0.0), LONGEST);
        assert_eq!(config.delay(0, Some(Duration::MAX), 1.0), Duration::MAX);
    }

    #[test]
    fn bounds_are_enforced() {
        let check = |change: fn(&mut RetryConfig), field| {
            let mut config = RetryConfig::default();
            change(&mut config);
            assert_eq!(Checked::new(config).unwrap_err().field, field);
        };
        check(|c| c.base_delay = Duration::ZERO, "base_delay");
        check(|c| c.max_delay = Duration::from_millis(99), "max_delay");
        check(|c| c.jitter = -0.1, "jitter");
        check(|c| c.jitter = f64::NAN, "jitter");
    }
}
