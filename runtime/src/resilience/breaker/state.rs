//! The breaker's state machine, without locks and permits.
//!
//! ```text
//!              too many failures or slow calls
//!    closed ------------------------------------> open <---------+
//!      ^                                           |             | probes failed:
//!      | enough probes succeeded      open time    |             | open longer
//!      |                              passed       v             |
//!      +-------------------------------------- half-open --------+
//! ```
//!
//! An operator can force it open, until a reset or for a time, after which it probes as after any open time.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use super::config::BreakerConfig;
use super::transition::{BreakerSnapshot, BreakerState, Transition, TransitionCause};
use crate::resilience::backoff::doubled;
use crate::resilience::config::Checked;
use crate::resilience::refusal::{Refusal, RefusalReason};
use crate::resilience::window::Window;

/// Transitions kept until somebody takes them; the oldest are dropped. A breaker that nobody watches changes every few
/// seconds at most, so 16 cover any interval at which one would look.
const TRANSITIONS_KEPT: usize = 16;

/// Advice while probes are under way: their answers decide, and usually take less than this. A caller that comes too
/// early again costs a refusal, nothing more.
const PROBING_RETRY: Duration = Duration::from_millis(100);

/// What a call came to, as far as the breaker is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target answered: a result, or a PERMANENT error, which a healthy target gives as well.
    Success,
    /// A TEMPORARY error or no answer.
    Failure,
    /// Says nothing about the target's health: `RATE_LIMITED`, or the call was never sent.
    Ignored,
}

/// The longest a breaker is held open by an operator: one that was forgotten is not for ever.
const LONGEST_FORCED: Duration = Duration::from_secs(24 * 60 * 60);

/// Says during which stay in a state a call was admitted. What it came to counts only while that stay lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stay {
    number: u64,
    pub(super) probes: bool,
}

#[derive(Debug)]
pub(super) struct Machine {
    config: Checked<BreakerConfig>,
    phase: Phase,
    stay: u64,
    window: Window<Calls>,
    /// Openings since the breaker was last closed; each doubles the open time.
    opened: u32,
    transitions: VecDeque<Transition>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    ForcedOpen { until: Instant },
    HalfOpen(Probes),
}

#[derive(Debug, Clone, Copy, Default)]
struct Probes {
    under_way: u32,
    /// How many may be admitted in all, where it is more than the configured number.
    allowed: u32,
    /// When the first of the latest set was given out.
    given_at: Option<Instant>,
    succeeded: u32,
    failed: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    all: u32,
    failed: u32,
    slow: u32,
}

impl AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }
}

impl Machine {
    pub(super) fn new(config: Checked<BreakerConfig>) -> Self {
        Self {
            phase: Phase::Closed,
            stay: 0,
            window: Window::new(config.window, config.buckets),
            opened: 0,
            transitions: VecDeque::new(),
            config,
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> Result<Stay, Refusal> {
        if let Phase::Open { until } | Phase::ForcedOpen { until } = self.phase
            && now >= until
        {
            self.enter(
                Phase::HalfOpen(Probes::default()),
                TransitionCause::OpenTimePassed,
                now,
            );
        }
        let stay = |probes| Stay {
            number: self.stay,
            probes,
        };
        match &mut self.phase {
            Phase::Closed => Ok(stay(false)),
            Phase::HalfOpen(probes) => match probes.admit(&self.config, now) {
                true => Ok(stay(true)),
                false => refuse(RefusalReason::Probing, PROBING_RETRY),
            },
            Phase::Open { until } => refuse(
                RefusalReason::CircuitOpen,
                until.saturating_duration_since(now),
            ),
            // Whoever forced it may reset it at any time: worth another look by then.
            Phase::ForcedOpen { until } => refuse(
                RefusalReason::ForcedOpen,
                until
                    .saturating_duration_since(now)
                    .min(self.config.open_max),
            ),
        }
    }

    /// `draw` is uniform in 0 to 1 and jitters the open time, should there be one.
    pub(super) fn record(
        &mut self,
        stay: Stay,
        outcome: Outcome,
        took: Duration,
        now: Instant,
        draw: f64,
    ) {
        if stay.number != self.stay {
            return;
        }
        let slow = self.config.slow_call.is_some_and(|limit| took >= limit);
        match self.phase {
            Phase::Closed => self.count(outcome, slow, now, draw),
            Phase::HalfOpen(probes) => self.judge(probes.with(outcome, slow), now, draw),
            // Nobody is admitted in these, so no stay leads here.
            Phase::Open { .. } | Phase::ForcedOpen { .. } => {}
        }
    }

    pub(super) fn is_current(&self, stay: Stay) -> bool {
        stay.number == self.stay
    }

    pub(super) fn release(&mut self, stay: Stay) {
        if let Phase::HalfOpen(probes) = &mut self.phase
            && stay.number == self.stay
        {
            probes.under_way -= 1;
        }
    }

    pub(super) fn force_open(&mut self, time: Option<Duration>, now: Instant) {
        let time = time.map_or(LONGEST_FORCED, |time| time.min(LONGEST_FORCED));
        let forced = Phase::ForcedOpen { until: now + time };
        match self.phase {
            Phase::ForcedOpen { .. } => self.phase = forced,
            _ => self.enter(forced, TransitionCause::Forced, now),
        }
    }

    pub(super) fn reset(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closed) {
            self.window.clear();
        } else {
            self.close(TransitionCause::Reset, now);
        }
    }

    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        self.transitions.drain(..).collect()
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> BreakerSnapshot {
        let calls = self.window.total(now);
        let (open_for, probing) = match self.phase {
            Phase::Open { until } | Phase::ForcedOpen { until } => {
                (until.checked_duration_since(now), 0)
            }
            Phase::HalfOpen(probes) => (None, probes.under_way),
            Phase::Closed => (None, 0),
        };
        BreakerSnapshot {
            state: self.phase.state(),
            forced: matches!(self.phase, Phase::ForcedOpen { .. }),
            open_for: open_for.filter(|left| !left.is_zero()),
            calls: calls.all,
            failures: calls.failed,
            slow: calls.slow,
            probing,
            opened: self.opened,
        }
    }

    fn count(&mut self, outcome: Outcome, slow: bool, now: Instant, draw: f64) {
        if outcome == Outcome::Ignored {
            return;
        }
        *self.window.current(now) += Calls {
            all: 1,
            failed: u32::from(outcome == Outcome::Failure),
            slow: u32::from(slow),
        };
        if let Some(cause) = self.excess(now) {
            self.open(cause, now, draw);
        }
    }

    fn excess(&mut self, now: Instant) -> Option<TransitionCause> {
        let calls = self.window.total(now);
        let part = |some: u32| f64::from(some) / f64::from(calls.all);
        if calls.all < self.config.min_calls {
            None
        } else if part(calls.failed) >= self.config.failure_rate {
            Some(TransitionCause::FailureRate)
        } else if part(calls.slow) >= self.config.slow_rate {
            Some(TransitionCause::SlowRate)
        } else {
            None
        }
    }

    fn judge(&mut self, probes: Probes, now: Instant, draw: f64) {
        let spare = self.config.probes - self.config.probes_to_close;
        if probes.succeeded >= self.config.probes_to_close {
            self.close(TransitionCause::ProbesSucceeded, now);
        } else if probes.failed > spare {
            self.open(TransitionCause::ProbesFailed, now, draw);
        } else {
            self.phase = Phase::HalfOpen(probes);
        }
    }

    fn open(&mut self, cause: TransitionCause, now: Instant, draw: f64) {
        let jitter = 1.0 + self.config.open_jitter * (2.0 * draw - 1.0);
        let time = doubled(self.config.open_for, self.config.open_max, self.opened).mul_f64(jitter);
        self.opened = self.opened.saturating_add(1);
        self.enter(Phase::Open { until: now + time }, cause, now);
    }

    fn close(&mut self, cause: TransitionCause, now: Instant) {
        self.opened = 0;
        // What happened before the opening says nothing about the target that came back.
        self.window.clear();
        self.enter(Phase::Closed, cause, now);
    }

    fn enter(&mut self, phase: Phase, cause: TransitionCause, at: Instant) {
        if self.transitions.len() == TRANSITIONS_KEPT {
            self.transitions.pop_front();
        }
        let calls = self.window.total(at);
        self.transitions.push_back(Transition {
            from: self.phase.state(),
            to: phase.state(),
            cause,
            at,
            open_for: match phase {
                Phase::Open { until } | Phase::ForcedOpen { until } => {
                    Some(until.saturating_duration_since(at))
                }
                Phase::Closed | Phase::HalfOpen(_) => None,
            },
            calls: calls.all,
            failures: calls.failed,
        });
        self.phase = phase;
        self.stay += 1;
    }
}

impl Phase {
    fn state(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open { .. } | Self::ForcedOpen { .. } => BreakerState::Open,
            Self::HalfOpen(_) => BreakerState::HalfOpen,
        }
    }
}

impl Probes {
    fn admitted(self) -> u32 {
        self.under_way + self.succeeded + self.failed
    }

    /// Admits one more, unless as many are as may. Probes that are under way for as long as the breaker would have been
    /// open hold nobody up: another set is let through beside them.
    fn admit(&mut self, config: &BreakerConfig, now: Instant) -> bool {
        if self.admitted() >= self.allowed.max(config.probes) {
            let slow = |since| now.saturating_duration_since(since) >= config.open_for;
            if !self.given_at.is_some_and(slow) {
                return false;
            }
            self.allowed = self.admitted().saturating_add(config.probes);
            self.given_at = None;
        }
        self.given_at.get_or_insert(now);
        self.under_way += 1;
        true
    }

    /// A slow probe failed: it may be what the breaker opened for.
    fn with(mut self, outcome: Outcome, slow: bool) -> Self {
        self.under_way -= 1;
        match outcome {
            Outcome::Ignored => {}
            Outcome::Success if !slow => self.succeeded += 1,
            Outcome::Success | Outcome::Failure => self.failed += 1,
        }
        self
    }
}

fn refuse(reason: RefusalReason, retry_after: Duration) -> Result<Stay, Refusal> {
    Err(Refusal {
        reason,
        retry_after,
    })
}
