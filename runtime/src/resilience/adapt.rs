//! The rate at which a target wants its commands, found out from how it answers.
//!
//! **No limit until there is a reason.** An adapter starts without one, so an idle system is never slowed and a fast
//! target is not explored step by step. A limit appears with the first push back (`OVERLOADED`, `RATE_LIMITED`, a
//! time-out, or a load that says "all handlers busy and commands queue") at the rate just measured, and is lifted after
//! [`forget_after`](AdaptConfig::forget_after) without another, unless the target is busy even so. There is no push back where nothing was sent just now, or
//! too little for a time-out to mean load: then there is no rate to take a limit from.
//!
//! **Down** by what the target got done: `backoff` times its measured throughput is right in one step after any overshoot
//! and, unlike a part of one's own rate, does not spiral down while old commands are still in the queue. Once per
//! window, and never for a command sent before the last cut: the cut could not have helped it.
//!
//! Where commands queue, the load also says for how long, and the queue that has piled up is worked off before more is
//! sent: the pace drops to a third for as long as the queue is too long. The target stays busy all the while. And the first
//! limit need not wait until somebody has waited long: where a busy target gets far more than it answers and commands have
//! begun to queue, what is on its way is a flood.
//!
//! **Up** only while the limit is really used (somebody had to wait for it): by the square root of the rate, so that of two
//! senders the slower gains more and their shares even out; a third of that where commands wait at the target; at once by up to half
//! where it reports idle handlers. Not at all while the target reports that commands begin to queue, unless even a
//! critical command had to wait here: then this sender has less than the others.
//!
//! What no sender can do is prevent collisions: a target that refuses whatever finds no free handler, with no room to wait
//! at all, gets less than four fifths used at any fair rate. Room for half its capacity is enough for 95 %.
//!
//! Not a latency gradient: the actions of one agent differ by orders of magnitude.

mod config;
mod load;
#[cfg(test)]
mod tests;

use std::ops::AddAssign;
use std::time::{Duration, Instant};

pub use config::AdaptConfig;
use load::Load;
pub use load::LoadReport;

use super::config::Checked;
use super::window::Window;

/// Rates are measured over this long: a few round trips, and short against the 5 s in which the limit has to follow.
const MEASURED: Duration = Duration::from_secs(1);
const MEASURED_SLOTS: u32 = 10;

/// With fewer answers in the measured time a throughput is an accident.
const TRUSTED_ANSWERS: u32 = 5;

/// With fewer commands in the measured time a time-out is a lost target or a lost reply, not load; and where a target is
/// overloaded, others have overloaded it.
const LOADED_COMMANDS: u32 = 10;

/// The part of the limit that is sent while the target works off its queue: enough for the critical commands of most
/// systems, and so little that the queue is gone in half again the time that it takes to work it off.
const DRAIN_PACE: f64 = 0.3;

/// A queue that is longer is looked at again after this.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);

/// Commands that wait for this part of `queue_wait` already are the beginning of a flood, where many more were sent than
/// answered; without any wait they may all be at work.
const FLOOD_WAIT_PARTS: u32 = 10;

/// Nothing is concluded from less: the first answers come by chance.
const FLOOD_SEEN: Duration = Duration::from_millis(200);

/// The reported wait is that of the last second: so long it goes on telling of a queue that is gone.
const LOOKS_BACK: Duration = Duration::from_secs(1);

/// Down to this part at most where less was sent of late than the limit: what was done then says little, and a second wrong
/// cut would leave handlers idle.
const CUT_AFTER_DRAIN: f64 = 0.7;

/// The part of a step up that is left where all handlers have work and commands wait: the queue that shows that it was too much is only seen
/// a second later.
const BUSY_STEP: f64 = 0.35;

/// One step up is at most this much: half as much again per window is tenfold in six windows.
const LARGEST_STEP: f64 = 1.5;

/// What an answer, or its absence, says about the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The target did the work: a result, or any error other than the ones below.
    Done,
    /// `OVERLOADED`, or the callee's `RATE_LIMITED`.
    PushedBack,
    /// No answer in time.
    TimedOut,
}

/// What a push back was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Signal,
    Load,
}

/// Follows the rate that one target can take.
///
/// ```
/// use mcp_runtime::resilience::{RateAdapter, Signal};
/// use std::time::{Duration, Instant};
///
/// let mut adapter = RateAdapter::default();
/// let (mut now, latency) = (Instant::now(), Duration::from_millis(5));
/// for n in 0..200 {
///     now += Duration::from_millis(5); // 200 a second, of which the target takes every other
///     adapter.sent(1.0, now);
///     if n % 2 == 0 { adapter.observe(Signal::Done, 1.0, latency, now) }
/// }
/// assert_eq!(adapter.limit(now), None);
///
/// adapter.observe(Signal::PushedBack, 1.0, latency, now);
/// let limit = adapter.limit(now).unwrap();
/// assert!((80.0..=110.0).contains(&limit), "{limit}");
/// assert_eq!(adapter.limit(now + Duration::from_secs(30)), None); // forgotten
/// ```
#[derive(Debug)]
pub struct RateAdapter {
    config: Checked<AdaptConfig>,
    limit: Option<f64>,
    flow: Window<Flow>,
    load: Load,
    cut: Option<Instant>,
    drains_until: Option<Instant>,
    raised: Option<Instant>,
    held_back: bool,
    urgent: bool,
}

/// Tokens and commands, sent and done.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    sent: f64,
    commands: u32,
    done: f64,
    answers: u32,
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.commands = self.commands.saturating_add(other.commands);
        self.done += other.done;
        self.answers = self.answers.saturating_add(other.answers);
    }
}

impl Default for RateAdapter {
    fn default() -> Self {
        Self::new(Checked::default())
    }
}

impl RateAdapter {
    /// Makes an adapter without a limit, or with the fixed `max_rate` as the limit.
    pub fn new(config: Checked<AdaptConfig>) -> Self {
        Self {
            limit: config.max_rate,
            config,
            flow: Window::new(MEASURED, MEASURED_SLOTS),
            load: Load::default(),
            cut: None,
            drains_until: None,
            raised: None,
            held_back: false,
            urgent: false,
        }
    }

    /// Returns the limit in tokens per second; `None` is no limit.
    pub fn limit(&mut self, now: Instant) -> Option<f64> {
        let forgotten = self
            .cut
            .is_some_and(|cut| passed(cut, self.config.forget_after, now));
        // A busy target is busy because of the limit: without it there would be the flood again.
        if forgotten && !self.load.is_busy(&self.config, now) {
            self.cut = None;
            self.drains_until = None;
            self.limit = self.config.max_rate;
        }
        self.limit
    }

    /// Returns the tokens per second to send now: the limit, or a part of it while the target works off its queue.
    pub fn pace(&mut self, now: Instant) -> Option<f64> {
        let limit = self.limit(now)?;
        Some(match self.drains_for(now) {
            Some(_) => (limit * DRAIN_PACE).max(self.config.min_rate).min(limit),
            None => limit,
        })
    }

    /// Returns for how much longer the pace is below the limit.
    pub fn drains_for(&self, now: Instant) -> Option<Duration> {
        self.drains_until?
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Notes that a command of this weight was sent.
    pub fn sent(&mut self, weight: f64, now: Instant) {
        *self.flow.current(now) += Flow {
            sent: weight,
            commands: 1,
            ..Flow::default()
        };
    }

    /// Notes that a command had to wait for the limit, or was refused by it: the limit is really used.
    pub fn held_back(&mut self) {
        self.held_back = true;
    }

    /// Notes that even a critical command had to wait: among those who share the target this limit is too low.
    pub(super) fn held_back_critical(&mut self) {
        (self.held_back, self.urgent) = (true, true);
    }

    /// Takes in what became of a command of this weight, `latency` after it was sent.
    pub fn observe(&mut self, signal: Signal, weight: f64, latency: Duration, now: Instant) {
        match signal {
            Signal::Done => {
                *self.flow.current(now) += Flow {
                    done: weight,
                    answers: 1,
                    ..Flow::default()
                };
                self.raise(now);
            }
            Signal::PushedBack => {
                self.push_back(latency, Evidence::Signal, now);
            }
            Signal::TimedOut => {
                if self.flow.total(now).commands >= LOADED_COMMANDS {
                    self.push_back(latency, Evidence::Signal, now);
                }
            }
        }
    }

    /// Takes in the load that a reply or a heartbeat reports.
    pub fn observe_load(&mut self, report: LoadReport, now: Instant) {
        self.load.take_in(report, now);
        if !self.load.is_busy_now(&self.config) {
            self.drains_until = self.drains_until.map(|end| end.min(now));
        }
        if !self.load.is_busy(&self.config, now) {
            return;
        }
        let wait = match self.flood(now) {
            Some(wait) => wait,
            None if self.load.is_over(&self.config, now) => self.load.queue_wait(),
            None => return,
        };
        // Who waited that long was sent before a younger cut.
        if self.push_back(wait + LOOKS_BACK, Evidence::Load, now) {
            let excess = wait.saturating_sub(self.config.queue_wait / 2);
            let time = excess.div_f64(1.0 - DRAIN_PACE);
            self.drains_until = Some(now + time.min(LONGEST_DRAIN));
        }
    }

    /// How long the youngest command will wait, where there is no limit yet and a target that lets commands wait gets
    /// far more than it does. What waits is only known when it has waited; by then much more would be queued.
    fn flood(&mut self, now: Instant) -> Option<Duration> {
        if self.limit.is_some() || !self.queue_begins() || !self.load.is_busy(&self.config, now) {
            return None;
        }
        let covered = self.flow.covered(now);
        let flow = self.flow.total(now);
        if covered < FLOOD_SEEN || flow.answers < TRUSTED_ANSWERS {
            return None;
        }
        let ahead = f64::from(flow.commands.saturating_sub(flow.answers)) / f64::from(flow.answers);
        let wait = covered.mul_f64(ahead);
        (wait >= 2 * self.config.queue_wait).then_some(wait)
    }

    /// Commands wait at the target, if not for long yet.
    fn queue_begins(&self) -> bool {
        self.load.queue_wait() * FLOOD_WAIT_PARTS >= self.config.queue_wait
    }

    /// Lowers the limit; tells whether it did.
    fn push_back(&mut self, latency: Duration, evidence: Evidence, now: Instant) -> bool {
        let helpless = self.cut.is_some_and(|cut| {
            // Sent before the last cut.
            !passed(cut, latency, now)
        });
        if helpless || !self.settled(self.cut, now) {
            return false;
        }
        let flow = self.flow.total(now);
        let seconds = self.flow.covered(now).as_secs_f64();
        if flow.commands == 0 && self.limit.is_none() {
            return false;
        }
        let drained_lately = self
            .drains_until
            .is_some_and(|end| !passed(end, MEASURED, now));
        if evidence == Evidence::Load && flow.commands < LOADED_COMMANDS && !drained_lately {
            return false;
        }
        let current = self.limit.unwrap_or(flow.sent / seconds);
        let least = current * self.config.max_cut;
        let done = flow.done / seconds * self.config.backoff;
        self.set(match evidence {
            _ if flow.answers < TRUSTED_ANSWERS => least,
            // What queues will be done: the throughput of a busy target is its rate.
            // Of late less was sent than the limit.
            Evidence::Load if drained_lately => done.clamp(current * CUT_AFTER_DRAIN, current),
            // The first answers came late, and no evidence is from before them.
            Evidence::Load if self.limit.is_none() => (done / self.config.backoff).min(current),
            Evidence::Load => done.min(current),
            Evidence::Signal => done.clamp(least, current),
        });
        self.cut = Some(now);
        (self.held_back, self.urgent) = (false, false);
        true
    }

    fn raise(&mut self, now: Instant) {
        let Some(current) = self.limit else { return };
        let settled = self.settled(self.cut, now) && self.settled(self.raised, now);
        let full = self.load.is_full(&self.config, now) && !self.urgent;
        if !self.held_back || !settled || full {
            return;
        }
        let room = self.load.room(&self.config, now).unwrap_or(1.0);
        let roomy = current * room.min(LARGEST_STEP);
        let queues = self.load.is_busy(&self.config, now) && self.queue_begins();
        let step = match queues && !self.urgent {
            true => current.sqrt() * BUSY_STEP,
            false => current.sqrt(),
        };
        self.set(roomy.max(current + step));
        self.raised = Some(now);
        (self.held_back, self.urgent) = (false, false);
    }

    fn set(&mut self, limit: f64) {
        let most = self.config.max_rate.unwrap_or(f64::MAX);
        self.limit = Some(limit.clamp(self.config.min_rate, most));
    }

    fn settled(&self, change: Option<Instant>, now: Instant) -> bool {
        change.is_none_or(|change| passed(change, self.config.window, now))
    }
}

fn passed(since: Instant, time: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= time
}
