//! What a client remembers of each agent that it sends to: the state of the policies, by target.

mod breakers;
mod changes;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    batch::{Appetite, Line},
    error::SendError,
    message::{Load, McpError, Name, Priority, Reply, code},
    resilience::{
        BreakerConfig, Checked, InvalidConfig, LimiterConfig, LoadReport, Outcome, RateLimiter,
        Refusal, RefusalReason, RetryBudget, Signal,
    },
    telemetry,
};

use breakers::{Breakers, MOST_ACTIONS, Permits};
use changes::{BreakerChange, Changes};

pub use breakers::BreakerScope;
pub use status::BreakerStatus;

pub(crate) use changes::Unpublished;

/// Targets remembered; a program that sends to more forgets those that it has not used of late.
const MOST_TARGETS: usize = 4_096;

/// A pause that a target asks for is no longer: it may be a mistake, and nothing is heard of it meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// How the policies of every target are configured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Protection {
    pub(crate) breaker: Checked<BreakerConfig>,
    pub(crate) scope: BreakerScope,
    pub(crate) limiter: Checked<LimiterConfig>,
}

impl Protection {
    pub(crate) fn new(
        breaker: BreakerConfig,
        scope: BreakerScope,
        limiter: LimiterConfig,
    ) -> Result<Self, InvalidConfig> {
        Ok(Self {
            scope,
            breaker: Checked::new(breaker)?,
            limiter: Checked::new(limiter)?,
        })
    }
}

/// The policies' state for one target.
pub(crate) struct Target {
    name: Name,
    pub(crate) budget: RetryBudget,
    pub(crate) appetite: Appetite,
    /// Of the lanes in which commands may be packed: normal and low.
    lines: [Line; 2],
    breakers: Breakers,
    limiter: RateLimiter,
    changes: Changes,
}

/// What is about to be sent, as far as the policies are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    pub(crate) source: Name,
    pub(crate) action: Name,
    pub(crate) priority: Priority,
}

/// The right to make one attempt; dropped without a record it gives its place back.
pub(crate) struct Pass<'a> {
    target: &'a Target,
    permits: Permits,
    sending: Sending,
    began: Instant,
}

impl Target {
    fn new(
        name: &Name,
        protection: Protection,
        places: &Arc<Semaphore>,
        changes: &Changes,
    ) -> Self {
        Self {
            name: name.clone(),
            budget: RetryBudget::default(),
            appetite: Appetite::default(),
            lines: Default::default(),
            breakers: Breakers::new(protection.scope, protection.breaker, Arc::clone(places)),
            limiter: RateLimiter::new(protection.limiter),
            changes: changes.clone(),
        }
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Where commands of a lane wait to be packed; `None` for one that is not.
    pub(crate) fn line(&self, lane: Priority) -> Option<&Line> {
        match lane {
            Priority::Critical | Priority::High => None,
            Priority::Normal => Some(&self.lines[0]),
            Priority::Low => Some(&self.lines[1]),
        }
    }

    /// Asks the breaker, then waits for the limiter: a dead target does not fill the queue.
    pub(crate) async fn admit(
        &self,
        sending: Sending,
        deadline: Instant,
    ) -> Result<Pass<'_>, SendError> {
        let priority = sending.priority;
        let admitted = self
            .breakers
            .admit(&sending.action, Instant::now().into_std());
        self.note_transitions(&sending.source, Some(&sending.action));
        telemetry::breaker_seen(|| {
            let now = Instant::now().into_std();
            self.breakers.state(&sending.action, now)
        });
        let mut permits = admitted.map_err(|refusal| self.refused(refusal))?;
        let asked = Instant::now();
        let waited = self
            .limiter
            .acquire(priority, Some(deadline.into_std()))
            .await;
        telemetry::limiter_waited(
            self.name.as_str(),
            priority,
            waited.is_ok(),
            asked.elapsed(),
        );
        waited.map_err(|refusal| self.refused(refusal))?;
        // While it waited the target may have died.
        if !permits.are_current() {
            let admitted = self
                .breakers
                .admit(&sending.action, Instant::now().into_std());
            self.note_transitions(&sending.source, Some(&sending.action));
            permits = admitted.map_err(|refusal| self.refused(refusal))?;
        }
        Ok(Pass {
            target: self,
            permits,
            sending,
            began: Instant::now(),
        })
    }

    /// What the limiter lets through in a second, while it limits.
    pub(crate) fn limit(&self, now: Instant) -> Option<f64> {
        self.limiter.snapshot(now.into_std()).limit
    }

    /// Whether nothing would be lost by forgetting it; the stricter, what it has just done neither.
    fn is_idle(&self, strictly: bool, now: Instant) -> bool {
        let breakers = match strictly {
            true => self.breakers.are_quiet(now.into_std()),
            false => self.breakers.are_closed(now.into_std()),
        };
        let limiter = self.limiter.snapshot(now.into_std());
        let unlimited = limiter.limit.is_none() || !strictly;
        breakers && unlimited && limiter.paused_for.is_none() && limiter.waiting == [0; 4]
    }

    fn refused(&self, refusal: Refusal) -> SendError {
        let target = self.name.to_string();
        let retry_after = refusal.retry_after;
        match refusal.reason {
            RefusalReason::CircuitOpen | RefusalReason::ForcedOpen | RefusalReason::Probing => {
                SendError::CircuitOpen {
                    target,
                    retry_after,
                    forced: refusal.reason == RefusalReason::ForcedOpen,
                }
            }
            _ => SendError::RateLimited {
                target,
                retry_after,
            },
        }
    }

    /// The one place where a change of a breaker is told: to the figures, to the log, and as an event.
    fn note_transitions(&self, source: &Name, action: Option<&Name>) {
        for (action, change) in self.breakers.take_transitions(action) {
            telemetry::breaker_changed(&self.name, action.as_ref(), change.to);
            tracing::warn!(
                target_agent = %self.name, action = action.as_ref().map(tracing::field::display),
                from = %change.from, to = %change.to, cause = %change.cause,
                "a circuit breaker changed its state"
            );
            self.changes.tell(BreakerChange {
                source: source.clone(),
                target: self.name.clone(),
                action,
                transition: change,
            });
        }
    }
}

impl Pass<'_> {
    /// Tells both policies what became of the attempt.
    pub(crate) fn record(self, outcome: &Result<Reply, SendError>) {
        let Self {
            target,
            permits,
            sending,
            began,
        } = self;
        let now = Instant::now();
        let took = now.duration_since(began);
        let now = now.into_std();
        permits.record(breaker_outcome(outcome), took, now);
        target.note_transitions(&sending.source, Some(&sending.action));
        if let Some(signal) = signal(outcome) {
            target.limiter.observe(sending.priority, signal, took, now);
        }
        let Ok(reply) = outcome else { return };
        target.appetite.observe(reply, Instant::now());
        if let Some(load) = &reply.load {
            target.limiter.observe_load(load.into(), now);
        }
        // The advice of one answer holds for all of this process.
        let limited = reply
            .error
            .as_ref()
            .filter(|error| error.code == code::RATE_LIMITED && !error.is_refusal_of_sender());
        if let Some(delay) = limited.and_then(|error| error.retry_delay) {
            target.limiter.pause(now + delay.min(LONGEST_PAUSE));
        }
    }
}

/// A target that answers is alive, whatever it answers; one that says "slow down" is not failing; and a
/// server that is away says nothing about the target.
fn breaker_outcome(outcome: &Result<Reply, SendError>) -> Outcome {
    match outcome {
        Ok(Reply {
            error: Some(error), ..
        }) if is_push_back(error) || error.is_refusal_of_sender() => Outcome::Ignored,
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
        }) if error.is_of_one_limit() => None,
        Ok(Reply {
            error: Some(error), ..
        }) if is_push_back(error) && !error.is_refusal_of_sender() => Some(Signal::PushedBack),
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
    /// For the breakers of actions.
    places: Arc<Semaphore>,
    changes: Changes,
    by_name: Arc<Known>,
}

/// Whom anything was sent to, by name.
pub(crate) type Known = Mutex<HashMap<Name, Arc<Target>>>;

impl Targets {
    /// No targets yet, and what is to be published of their breakers.
    pub(crate) fn new(protection: Protection) -> (Self, Unpublished) {
        let (changes, unpublished) = Changes::new();
        let targets = Self {
            protection,
            places: Arc::new(Semaphore::new(MOST_ACTIONS)),
            changes,
            by_name: Arc::default(),
        };
        telemetry::watch_limits(Arc::downgrade(&targets.by_name));
        (targets, unpublished)
    }

    pub(crate) fn of(&self, name: &Name) -> Arc<Target> {
        let mut by_name = self.lock();
        if let Some(target) = by_name.get(name) {
            return Arc::clone(target);
        }
        let now = Instant::now();
        for strictly in [true, false] {
            if by_name.len() >= MOST_TARGETS {
                by_name.retain(|_, target| {
                    Arc::strong_count(target) > 1 || !target.is_idle(strictly, now)
                });
            }
        }
        let target = Target::new(name, self.protection, &self.places, &self.changes);
        let target = Arc::new(target);
        // Of as many that are all in need of their state, none is given up for another.
        if by_name.len() < MOST_TARGETS {
            by_name.insert(name.clone(), Arc::clone(&target));
        }
        target
    }

    /// Takes in the load that an instance published, where anything is sent to its agent at all.
    pub(crate) fn observe_load(&self, agent: &Name, load: impl FnOnce() -> Option<Load>) {
        let target = self.lock().get(agent).cloned();
        if let Some(target) = target
            && let Some(load) = load()
        {
            let now = Instant::now();
            target.appetite.observe_load(&load, now);
            target.limiter.observe_load((&load).into(), now.into_std());
        }
    }

    /// All breakers.
    pub(crate) fn breakers(&self) -> Vec<BreakerStatus> {
        let now = Instant::now().into_std();
        let targets: Vec<_> = self.lock().values().cloned().collect();
        let mut all = Vec::new();
        for target in targets {
            for (action, snapshot) in target.breakers.snapshots(now) {
                all.push(BreakerStatus::new(&target.name, action.as_ref(), &snapshot));
            }
        }
        all.sort_by(|a, b| (&a.target, &a.action).cmp(&(&b.target, &b.action)));
        all
    }

    /// Those that are worth telling others.
    pub(crate) fn breakers_to_publish(&self) -> Vec<BreakerStatus> {
        status::to_publish(self.breakers())
    }

    /// Counts the changes of all breakers.
    pub(crate) fn breaker_changes(&self) -> watch::Receiver<u64> {
        self.changes.watch()
    }

    /// Opens a breaker by hand; tells whether there is room for it.
    pub(crate) fn force_open(
        &self,
        source: &Name,
        target: &Name,
        action: Option<&Name>,
        time: Option<Duration>,
    ) -> bool {
        let target = self.of(target);
        let opened = target
            .breakers
            .force_open(action, time, Instant::now().into_std());
        target.note_transitions(source, action);
        opened
    }

    /// Closes a breaker by hand, or all of a target; then a pause that the target asked for ends, too.
    pub(crate) fn reset_breaker(&self, source: &Name, target: &Name, action: Option<&Name>) {
        let known = self.lock().get(target).cloned();
        let Some(target) = known else { return };
        target.breakers.reset(action, Instant::now().into_std());
        match action {
            Some(action) => target.note_transitions(source, Some(action)),
            None => {
                target.limiter.resume();
                target.note_transitions(source, None);
                let actions = target.breakers.actions();
                actions
                    .iter()
                    .for_each(|action| target.note_transitions(source, Some(action)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Arc<Target>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
