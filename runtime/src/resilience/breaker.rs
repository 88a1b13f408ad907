//! The circuit breaker: stops calling a target that fails, and finds out when it is back.
//!
//! [`state`] holds the machine; here are the lock around it and the permits that cannot leak.

mod config;
mod state;
#[cfg(test)]
mod tests;
mod transition;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use config::BreakerConfig;
pub use state::Outcome;
use state::{Machine, Stay};
pub use transition::{BreakerSnapshot, BreakerState, Transition, TransitionCause};

use super::config::Checked;
use super::refusal::Refusal;

/// A circuit breaker for one target. Clones share their state.
///
/// ```
/// use mcp_runtime::resilience::{BreakerState, CircuitBreaker, Outcome};
/// use std::time::{Duration, Instant};
///
/// let breaker = CircuitBreaker::default();
/// let now = Instant::now();
/// for _ in 0..20 {
///     let permit = breaker.admit(now)?;
///     permit.record(Outcome::Failure, Duration::from_millis(3), now);
/// }
/// let refusal = breaker.admit(now).unwrap_err();
/// assert!(refusal.retry_after >= Duration::from_secs(4)); // 5 s, give or take a fifth
/// assert_eq!(breaker.snapshot(now).state, BreakerState::Open);
///
/// let later = now + Duration::from_secs(7);
/// let probe = breaker.admit(later)?;
/// drop(probe); // a cancelled call gives its place back
/// # Ok::<(), mcp_runtime::resilience::Refusal>(())
/// ```
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    machine: Arc<Mutex<Machine>>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new(Checked::default())
    }
}

impl CircuitBreaker {
    /// Makes a closed breaker.
    pub fn new(config: Checked<BreakerConfig>) -> Self {
        Self {
            machine: Arc::new(Mutex::new(Machine::new(config))),
        }
    }

    /// Lets a call pass, or not. An open breaker whose time has passed becomes half-open here.
    ///
    /// # Errors
    /// The breaker is open, or half-open with all its probes under way.
    pub fn admit(&self, now: Instant) -> Result<Permit, Refusal> {
        let stay = self.lock().admit(now)?;
        Ok(Permit {
            breaker: self.clone(),
            stay: Some(stay),
        })
    }

    /// Opens the breaker for so long, after which it probes; without a time until it is [reset](Self::reset). At most for
    /// a day.
    pub fn force_open(&self, time: Option<Duration>, now: Instant) {
        self.lock().force_open(time, now);
    }

    /// Closes the breaker and forgets all it counted.
    pub fn reset(&self, now: Instant) {
        self.lock().reset(now);
    }

    /// Takes the changes of state since the last call, oldest first; the last 16 at most.
    ///
    /// Only [`admit`](Self::admit), [`Permit::record`], [`force_open`](Self::force_open) and [`reset`](Self::reset)
    /// change the state, so the place to ask is after them.
    pub fn take_transitions(&self) -> Vec<Transition> {
        self.lock().take_transitions()
    }

    /// Returns the breaker's figures.
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        self.lock().snapshot(now)
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // Every change under the lock is complete or not begun: a panic elsewhere does not spoil it.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one call. Dropped without a record (the caller was cancelled) it gives its place back.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a call never made"]
pub struct Permit {
    breaker: CircuitBreaker,
    stay: Option<Stay>,
}

impl Permit {
    /// Returns whether the call is a probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.stay.is_some_and(|stay| stay.probes)
    }

    /// Returns whether the breaker is still as it was when it gave out the permit. What waited for something else since
    /// should ask again where it is not.
    pub fn is_current(&self) -> bool {
        self.stay
            .is_some_and(|stay| self.breaker.lock().is_current(stay))
    }

    /// Reports what the call came to and how long it `took`, from its publish to its reply.
    ///
    /// Counts only if the breaker has not changed its state since it gave out the permit: an answer to a call from
    /// before the opening closes nothing.
    pub fn record(mut self, outcome: Outcome, took: Duration, now: Instant) {
        if let Some(stay) = self.stay.take() {
            let draw = rand::random();
            self.breaker.lock().record(stay, outcome, took, now, draw);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(stay) = self.stay.take() {
            self.breaker.lock().release(stay);
        }
    }
}
