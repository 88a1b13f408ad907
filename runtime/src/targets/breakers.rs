//! The breakers of one target: that of the whole target, and those of single actions.
//!
//! One of the two counts what becomes of a command, as the [`BreakerScope`] says. The other only lets pass or not, and
//! counts nothing but the probes it needs to close again after an operator has forced it open.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    message::Name,
    resilience::{
        BreakerConfig, BreakerSnapshot, BreakerState, Checked, CircuitBreaker, Outcome, Permit,
        Refusal, Transition,
    },
};

/// What a circuit breaker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum BreakerScope {
    /// One for each target: an agent that is dead is dead for all its actions.
    #[default]
    Target,
    /// One for each action of each target, where one action may fail while the others work. A program that uses more than
    /// 4,096 actions shares that of the target among the rest.
    TargetAndAction,
}

/// Breakers of actions in one client, over all its targets.
pub(super) const MOST_ACTIONS: usize = 4_096;

pub(super) struct Breakers {
    scope: BreakerScope,
    config: Checked<BreakerConfig>,
    whole: CircuitBreaker,
    by_action: Mutex<HashMap<Name, OfAction>>,
    /// Spares nearly everyone the lock.
    any_action: AtomicBool,
    places: Arc<Semaphore>,
}

struct OfAction {
    breaker: CircuitBreaker,
    _place: OwnedSemaphorePermit,
}

/// The right to send one command, of both breakers that it concerns.
pub(super) struct Permits {
    counting: Permit,
    gate: Option<Permit>,
}

impl Permits {
    /// Whether neither breaker has changed since.
    pub(super) fn are_current(&self) -> bool {
        self.counting.is_current() && self.gate.as_ref().is_none_or(Permit::is_current)
    }

    pub(super) fn record(self, outcome: Outcome, took: Duration, now: Instant) {
        self.counting.record(outcome, took, now);
        if let Some(gate) = self.gate.filter(Permit::is_probe) {
            gate.record(outcome, took, now);
        }
    }
}

impl Breakers {
    pub(super) fn new(
        scope: BreakerScope,
        config: Checked<BreakerConfig>,
        places: Arc<Semaphore>,
    ) -> Self {
        Self {
            scope,
            config,
            whole: CircuitBreaker::new(config),
            by_action: Mutex::default(),
            any_action: AtomicBool::new(false),
            places,
        }
    }

    pub(super) fn admit(&self, action: &Name, now: Instant) -> Result<Permits, Refusal> {
        let whole = self.whole.admit(now)?;
        let of_action = match self.scope {
            BreakerScope::Target => self.of_action(action),
            BreakerScope::TargetAndAction => self.ensure(action),
        };
        let of_action = of_action.map(|breaker| breaker.admit(now)).transpose()?;
        Ok(match (self.scope, of_action) {
            (_, None) => Permits {
                counting: whole,
                gate: None,
            },
            (BreakerScope::Target, gate) => Permits {
                counting: whole,
                gate,
            },
            (BreakerScope::TargetAndAction, Some(counting)) => Permits {
                counting,
                gate: Some(whole),
            },
        })
    }

    /// Opens the breaker of the target, or of one action; tells whether there is room for it.
    pub(super) fn force_open(
        &self,
        action: Option<&Name>,
        time: Option<Duration>,
        now: Instant,
    ) -> bool {
        let breaker = match action {
            None => Some(self.whole.clone()),
            Some(action) => self.ensure(action),
        };
        if let Some(breaker) = &breaker {
            breaker.force_open(time, now);
        }
        breaker.is_some()
    }

    /// Closes the breaker of one action, or all of the target.
    pub(super) fn reset(&self, action: Option<&Name>, now: Instant) {
        if action.is_none() {
            self.whole.reset(now);
        }
        let by_action = self.lock();
        let concerned = by_action
            .iter()
            .filter(|(name, _)| action.is_none_or(|action| action == *name));
        concerned.for_each(|(_, of_action)| of_action.breaker.reset(now));
    }

    /// Takes what changed in the target's breaker and in that of an action.
    pub(super) fn take_transitions(
        &self,
        action: Option<&Name>,
    ) -> Vec<(Option<Name>, Transition)> {
        let mut all: Vec<_> = self
            .whole
            .take_transitions()
            .into_iter()
            .map(|change| (None, change))
            .collect();
        if let Some(action) = action
            && let Some(breaker) = self.of_action(action)
        {
            let changes = breaker.take_transitions().into_iter();
            all.extend(changes.map(|change| (Some(action.clone()), change)));
        }
        all
    }

    /// The figures of all breakers; `None` is the target's own.
    pub(super) fn snapshots(&self, now: Instant) -> Vec<(Option<Name>, BreakerSnapshot)> {
        let mut all = vec![(None, self.whole.snapshot(now))];
        let by_action = self.lock();
        let of_actions = by_action.iter();
        all.extend(
            of_actions
                .map(|(name, of_action)| (Some(name.clone()), of_action.breaker.snapshot(now))),
        );
        all
    }

    /// The state of the breaker that counts for an action.
    pub(super) fn state(&self, action: &Name, now: Instant) -> BreakerState {
        let breaker = match self.scope {
            BreakerScope::Target => None,
            BreakerScope::TargetAndAction => self.of_action(action),
        };
        breaker.as_ref().unwrap_or(&self.whole).snapshot(now).state
    }

    /// Whether nothing would be forgotten with them: all closed, and nothing counted.
    pub(super) fn are_quiet(&self, now: Instant) -> bool {
        let mut all = self.snapshots(now).into_iter();
        all.all(|(_, it)| it.state == BreakerState::Closed && it.calls == 0 && it.probing == 0)
    }

    /// Whether none is open or probing.
    pub(super) fn are_closed(&self, now: Instant) -> bool {
        let mut all = self.snapshots(now).into_iter();
        all.all(|(_, it)| it.state == BreakerState::Closed)
    }

    /// The actions that have a breaker.
    pub(super) fn actions(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    fn of_action(&self, action: &Name) -> Option<CircuitBreaker> {
        if !self.any_action.load(Ordering::Acquire) {
            return None;
        }
        self.lock()
            .get(action)
            .map(|of_action| of_action.breaker.clone())
    }

    /// The breaker of an action, made where there is none; `None` where there are too many.
    fn ensure(&self, action: &Name) -> Option<CircuitBreaker> {
        let mut by_action = self.lock();
        if let Some(of_action) = by_action.get(action) {
            return Some(of_action.breaker.clone());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let breaker = CircuitBreaker::new(self.config);
        let of_action = OfAction {
            breaker: breaker.clone(),
            _place: place,
        };
        by_action.insert(action.clone(), of_action);
        self.any_action.store(true, Ordering::Release);
        Some(breaker)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, OfAction>> {
        self.by_action
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn breakers(scope: BreakerScope, places: usize) -> Breakers {
        Breakers::new(scope, Checked::default(), Arc::new(Semaphore::new(places)))
    }

    fn fail(breakers: &Breakers, action: &Name, now: Instant) {
        for _ in 0..20 {
            let permits = breakers.admit(action, now).unwrap();
            permits.record(Outcome::Failure, Duration::from_millis(1), now);
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "an `Instant` cannot be made up from nothing"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_scope_says_whom_a_failing_action_takes_along() {
        let check = |scope, places, other_passes| {
            let (breakers, now) = (breakers(scope, places), start());
            fail(&breakers, &name("bad"), now);
            assert!(breakers.admit(&name("bad"), now).is_err());
            let passes = breakers.admit(&name("good"), now).is_ok();
            assert_eq!(passes, other_passes, "{scope:?} {places}");
        };
        check(BreakerScope::Target, 9, false);
        check(BreakerScope::TargetAndAction, 9, true);
        // Without a place of its own an action counts for the target.
        check(BreakerScope::TargetAndAction, 0, false);
    }

    #[test]
    fn either_can_be_forced_open_in_either_scope_and_closes_by_probes() {
        for scope in [BreakerScope::Target, BreakerScope::TargetAndAction] {
            for forced in [None, Some(name("act"))] {
                let (breakers, now) = (breakers(scope, 9), start());
                let time = Some(Duration::from_secs(1));
                assert!(breakers.force_open(forced.as_ref(), time, now));
                assert!(breakers.admit(&name("act"), now).is_err());
                assert_eq!(
                    breakers.admit(&name("other"), now).is_ok(),
                    forced.is_some()
                );
                let later = now + Duration::from_secs(1);
                for _ in 0..2 {
                    let permits = breakers.admit(&name("act"), later).unwrap();
                    permits.record(Outcome::Success, Duration::ZERO, later);
                }
                let all = breakers.snapshots(later);
                assert!(
                    all.iter().all(|(_, it)| it.state == BreakerState::Closed),
                    "{scope:?} {all:?}"
                );
            }
        }
    }

    #[test]
    fn a_reset_of_the_target_resets_its_actions() {
        let (breakers, now) = (breakers(BreakerScope::Target, 9), start());
        let action = name("act");
        breakers.force_open(None, None, now);
        breakers.force_open(Some(&action), None, now);
        breakers.reset(Some(&action), now);
        assert!(
            breakers.admit(&action, now).is_err(),
            "the target's is open"
        );
        breakers.force_open(Some(&action), None, now);
        breakers.reset(None, now);
        assert!(breakers.admit(&action, now).is_ok());
    }
}
