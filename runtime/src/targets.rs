//! What a client remembers of each agent that it sends to: the state of the policies, by target.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::SendError,
    message::{Load, McpError, Name, Priority, Reply, code},
    resilience::{
        BreakerConfig, Checked, CircuitBreaker, InvalidConfig, LimiterConfig, LoadReport, Outcome,
        Permit, RateLimiter, Refusal, RefusalReason, RetryBudget, Signal,
    },
};

/// Targets remembered; a program that sends to more forgets all and begins anew with them.
const MOST_TARGETS: usize = 4_096;

/// How the policies of every target are configured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Protection {
    pub(crate) breaker: Checked<BreakerConfig>,
    pub(crate) limiter: Checked<LimiterConfig>,
}

impl Protection {
    pub(crate) fn new(
        breaker: BreakerConfig,
        limiter: LimiterConfig,
    ) -> Result<Self, InvalidConfig> {
        Ok(Self {
            breaker: Checked::new(breaker)?,
            limiter: Checked::new(limiter)?,
        })
    }
}

/// The policies' state for one target.
pub(crate) struct Target {
    name: Name,
    pub(crate) budget: RetryBudget,
    breaker: CircuitBreaker,
    limiter: RateLimiter,
}

/// The right to make one attempt; dropped without a record it gives its place back.
pub(crate) struct Pass<'a> {
    target: &'a Target,
    permit: Permit,
    priority: Priority,
    began: Instant,
}

impl Target {
    fn new(name: &Name, protection: Protection) -> Self {
        Self {
            name: name.clone(),
            budget: RetryBudget::default(),
            breaker: CircuitBreaker::new(protection.breaker),
            limiter: RateLimiter::new(protection.limiter),
        }
    }

    /// Asks the breaker, then waits for the limiter: a dead target does not fill the queue.
    pub(crate) async fn admit(
        &self,
        priority: Priority,
        deadline: Instant,
    ) -> Result<Pass<'_>, SendError> {
        let admitted = self.breaker.admit(Instant::now().into_std());
        self.note_transitions();
        let permit = admitted.map_err(|refusal| self.refused(refusal))?;
        let waited = self
            .limiter
            .acquire(priority, Some(deadline.into_std()))
            .await;
        waited.map_err(|refusal| self.refused(refusal))?;
        Ok(Pass {
            target: self,
            permit,
            priority,
            began: Instant::now(),
        })
    }

    fn refused(&self, refusal: Refusal) -> SendError {
        let target = self.name.to_string();
        let retry_after = refusal.retry_after;
        match refusal.reason {
            RefusalReason::CircuitOpen | RefusalReason::ForcedOpen | RefusalReason::Probing => {
                SendError::CircuitOpen {
                    target,
                    retry_after,
                }
            }
            _ => SendError::RateLimited {
                target,
                retry_after,
            },
        }
    }

    fn note_transitions(&self) {
        for change in self.breaker.take_transitions() {
            tracing::warn!(
                target_agent = %self.name, from = %change.from, to = %change.to, cause = %change.cause,
                "a circuit breaker changed its state"
            );
        }
    }
}

impl Pass<'_> {
    /// Tells both policies what became of the attempt.
    pub(crate) fn record(self, outcome: &Result<Reply, SendError>) {
        let Self {
            target,
            permit,
            priority,
            began,
        } = self;
        let now = Instant::now();
        let took = now.duration_since(began);
        let now = now.into_std();
        permit.record(breaker_outcome(outcome), took, now);
        target.note_transitions();
        if let Some(signal) = signal(outcome) {
            target.limiter.observe(priority, signal, took, now);
        }
        let Ok(reply) = outcome else { return };
        if let Some(load) = &reply.load {
            target.limiter.observe_load(load.into(), now);
        }
        // The advice of one answer holds for all of this process.
        let limited = reply
            .error
            .as_ref()
            .filter(|error| error.code == code::RATE_LIMITED);
        if let Some(delay) = limited.and_then(|error| error.retry_delay) {
            target.limiter.pause(now + delay);
        }
    }
}

/// A target that answers is alive, whatever it answers; one that says "slow down" is not failing; and a
/// server that is away says nothing about the target.
fn breaker_outcome(outcome: &Result<Reply, SendError>) -> Outcome {
    match outcome {
        Ok(Reply {
            error: Some(error), ..
        }) if is_push_back(error) => Outcome::Ignored,
        Ok(Reply {
            error: Some(error), ..
        }) if error.is_temporary() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(SendError::Timeout { .. } | SendError::NobodyListens { .. }) => Outcome::Failure,
        Err(_) => Outcome::Ignored,
    }
}

fn signal(outcome: &Result<Reply, SendError>) -> Option<Signal> {
    match outcome {
        Ok(Reply {
            error: Some(error), ..
        }) if is_push_back(error) => Some(Signal::PushedBack),
        Ok(_) => Some(Signal::Done),
        Err(SendError::Timeout { .. }) => Some(Signal::TimedOut),
        Err(_) => None,
    }
}

fn is_push_back(error: &McpError) -> bool {
    matches!(
        error.code.as_str(),
        code::OVERLOADED | code::RATE_LIMITED | code::DRAINING
    )
}

impl From<&Load> for LoadReport {
    fn from(load: &Load) -> Self {
        Self {
            capacity: load.capacity,
            utilization: load.utilization,
            queue_wait_p95: Duration::try_from_secs_f64(load.queue_wait_p95_ms / 1000.0)
                .unwrap_or_default(),
        }
    }
}

/// All targets of a client.
pub(crate) struct Targets {
    protection: Protection,
    by_name: Mutex<HashMap<Name, Arc<Target>>>,
}

impl Targets {
    pub(crate) fn new(protection: Protection) -> Self {
        Self {
            protection,
            by_name: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, name: &Name) -> Arc<Target> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = by_name.get(name) {
            return Arc::clone(target);
        }
        if by_name.len() >= MOST_TARGETS {
            by_name.clear();
        }
        let target = Arc::new(Target::new(name, self.protection));
        by_name.insert(name.clone(), Arc::clone(&target));
        target
    }
}
