//! Whether a failed command is tried again: the callee's advice, the caller's limits, the target's budget.
//!
//! The length of the delay comes from [`RetryConfig`]; sleeping it, and sending, is the send path's.

use std::time::{Duration, Instant};

use super::backoff::RetryConfig;
use super::budget::RetryBudget;
use super::config::Checked;

/// What a failure says about trying again, taken from the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Whether the error's category is TEMPORARY; a PERMANENT one is never retried.
    pub temporary: bool,
    /// The callee's `max_retries`.
    pub max_retries: Option<u32>,
    /// The callee's `retry_delay_ms`: no retry sooner.
    pub retry_delay: Option<Duration>,
}

impl Advice {
    /// A TEMPORARY error that advises nothing else.
    pub const TEMPORARY: Self = Self {
        temporary: true,
        max_retries: None,
        retry_delay: None,
    };
    /// A PERMANENT error.
    pub const PERMANENT: Self = Self {
        temporary: false,
        max_retries: None,
        retry_delay: None,
    };
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this long, not sooner.
    RetryAfter(Duration),
    /// Report the failure to the caller.
    Stop(StopReason),
}

/// Why a command is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The error is PERMANENT.
    #[error("the error is permanent")]
    Permanent,
    /// As many retries were made as caller and callee both allow.
    #[error("all {allowed} retries are spent")]
    RetriesSpent {
        /// The smaller of the caller's maximum and the callee's.
        allowed: u32,
    },
    /// The retry would start at or after the deadline.
    #[error("a retry in {delay:?} would come after the deadline")]
    Deadline {
        /// How long the wait would have been.
        delay: Duration,
    },
    /// The target had more retries than its successes pay for.
    #[error("the target's retry budget is spent")]
    BudgetSpent,
}

/// The retries of one command.
///
/// ```
/// use mcp_runtime::resilience::{Advice, Checked, Decision, RetryBudget, RetryState, StopReason};
/// use std::time::{Duration, Instant};
///
/// let (now, budget) = (Instant::now(), RetryBudget::default());
/// let deadline = now + Duration::from_secs(10);
/// let mut retry = RetryState::new(Checked::default(), Some(deadline));
///
/// let busy = Advice { retry_delay: Some(Duration::from_secs(2)), ..Advice::TEMPORARY };
/// assert!(matches!(retry.after_failure(busy, &budget, now), Decision::RetryAfter(d) if d.as_secs() == 2));
/// assert_eq!(
///     retry.after_failure(Advice::PERMANENT, &budget, now),
///     Decision::Stop(StopReason::Permanent),
/// );
/// assert_eq!(retry.attempts(), 2);
/// ```
#[derive(Debug)]
pub struct RetryState {
    config: Checked<RetryConfig>,
    deadline: Option<Instant>,
    allowed: u32,
    retries: u32,
}

impl RetryState {
    /// Starts with the first attempt; no retry will start at or after `deadline`.
    pub fn new(config: Checked<RetryConfig>, deadline: Option<Instant>) -> Self {
        Self {
            allowed: config.max_retries,
            config,
            deadline,
            retries: 0,
        }
    }

    /// Decides what follows the failure of the current attempt; counts the retry and takes it from `budget`.
    ///
    /// Of all the `max_retries` that the command's failures advised, the smallest holds.
    pub fn after_failure(
        &mut self,
        advice: Advice,
        budget: &RetryBudget,
        now: Instant,
    ) -> Decision {
        match self.check(advice, budget, now, rand::random()) {
            Ok(delay) => {
                self.retries += 1;
                Decision::RetryAfter(delay)
            }
            Err(reason) => Decision::Stop(reason),
        }
    }

    /// Returns the number of the current attempt; the first is 1.
    pub fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }

    fn check(
        &mut self,
        advice: Advice,
        budget: &RetryBudget,
        now: Instant,
        draw: f64,
    ) -> Result<Duration, StopReason> {
        if !advice.temporary {
            return Err(StopReason::Permanent);
        }
        self.allowed = self.allowed.min(advice.max_retries.unwrap_or(u32::MAX));
        if self.retries >= self.allowed {
            return Err(StopReason::RetriesSpent {
                allowed: self.allowed,
            });
        }
        let delay = self.config.delay(self.retries, advice.retry_delay, draw);
        if !self.in_time(now, delay) {
            return Err(StopReason::Deadline { delay });
        }
        // Last, so that only retries that happen are paid for.
        if !budget.spend() {
            return Err(StopReason::BudgetSpent);
        }
        Ok(delay)
    }

    fn in_time(&self, now: Instant, delay: Duration) -> bool {
        self.deadline
            .is_none_or(|deadline| now.checked_add(delay).is_some_and(|at| at < deadline))
    }
}

#[cfg(test)]
mod tests;
