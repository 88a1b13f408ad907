//! The rate limiter: a command leaves when the target wants it, in the order of the lanes.
//!
//! [`queue`] decides; here is the waiting, the only place among the policies that reads the clock.

mod config;
#[cfg(test)]
mod lanes_simulation;
mod queue;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use config::LimiterConfig;
use queue::{Queue, Ticket, Turn};
use tokio::sync::Notify;

use super::adapt::{LoadReport, Signal};
use super::config::Checked;
use super::refusal::Refusal;
use crate::Priority;

/// A rate limiter for one target. Clones share their state.
///
/// Without a reason there is no limit, see [`RateAdapter`](super::RateAdapter). With one, commands leave as tokens come:
/// the higher lane first and none starved, see [`LaneScheduler`](super::LaneScheduler); within a lane in the order of
/// arrival.
///
/// ```
/// use mcp_runtime::{Priority, resilience::{AdaptConfig, Checked, LimiterConfig, RateLimiter}};
/// use std::time::{Duration, Instant};
///
/// let adapt = AdaptConfig { min_rate: 10.0, max_rate: Some(10.0), ..AdaptConfig::default() };
/// let limiter = RateLimiter::new(Checked::new(LimiterConfig { adapt, ..LimiterConfig::default() })?);
///
/// let now = Instant::now();
/// for _ in 0..5 {
///     limiter.try_acquire(Priority::Normal, now)?; // from a burst of 5
/// }
/// let refusal = limiter.try_acquire(Priority::Normal, now).unwrap_err();
/// assert_eq!(refusal.retry_after, Duration::from_millis(100));
/// limiter.try_acquire(Priority::Critical, now)?; // on credit
///
/// // In async code: waits for its turn, up to `max_wait` and never past the deadline.
/// # let run = async move {
/// limiter.acquire(Priority::High, Some(now + Duration::from_secs(2))).await?;
/// # Ok::<(), mcp_runtime::resilience::Refusal>(()) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    config: Checked<LimiterConfig>,
    queue: Arc<Mutex<Queue<Arc<Notify>>>>,
}

/// A limiter's figures at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimiterSnapshot {
    /// Tokens per second; `None` is no limit.
    pub limit: Option<f64>,
    /// What is left of a pause the target asked for.
    pub paused_for: Option<Duration>,
    /// Commands that wait: critical, high, normal, low.
    pub waiting: [usize; 4],
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::new(Checked::default())
    }
}

impl RateLimiter {
    /// Makes a limiter that lets everything pass until told otherwise, or up to the fixed `max_rate`.
    pub fn new(config: Checked<LimiterConfig>) -> Self {
        Self {
            config,
            queue: Arc::new(Mutex::new(Queue::new(config))),
        }
    }

    /// Waits until a command of this lane may leave: at most `max_wait`, and never past the deadline.
    ///
    /// Dropping the future gives up the place in the queue and costs no tokens.
    ///
    /// # Errors
    /// At once where the turn cannot come in time or too many wait already; else when the time is over.
    pub async fn acquire(
        &self,
        priority: Priority,
        deadline: Option<Instant>,
    ) -> Result<(), Refusal> {
        let now = clock();
        let patience = now + self.config.max_wait;
        let give_up = deadline.map_or(patience, |deadline| deadline.min(patience));
        let place = {
            let mut queue = self.lock();
            if take(&mut queue, priority, now).is_ok() {
                return Ok(());
            }
            let woken = Arc::new(Notify::new());
            let ticket = queue.join(priority, woken.clone(), give_up, now)?;
            Place {
                limiter: self,
                priority,
                ticket,
                woken,
            }
        };
        place.wait(give_up).await
    }

    /// Lets a command of this lane leave now, or not.
    ///
    /// # Errors
    /// It would have to wait: how long at least.
    pub fn try_acquire(&self, priority: Priority, now: Instant) -> Result<(), Refusal> {
        take(&mut self.lock(), priority, now)
    }

    /// Takes in what became of a command, `latency` after it was sent.
    pub fn observe(&self, priority: Priority, signal: Signal, latency: Duration, now: Instant) {
        self.change(|queue| queue.observe(priority, signal, latency, now));
    }

    /// Takes in the load that a reply or a heartbeat reports.
    pub fn observe_load(&self, report: LoadReport, now: Instant) {
        self.change(|queue| queue.observe_load(report, now));
    }

    /// Lets nothing leave until then: the target said so, with a `RATE_LIMITED` that carries advice. A later end holds.
    pub fn pause(&self, until: Instant) {
        self.change(|queue| queue.pause(until));
    }

    /// Ends a pause: an operator knows better.
    pub fn resume(&self) {
        let mut queue = self.lock();
        queue.resume();
        wake_head(&queue);
    }

    /// Returns the limiter's figures.
    pub fn snapshot(&self, now: Instant) -> LimiterSnapshot {
        // A limit that is over by now is over for whoever waits, too.
        self.change(|queue| queue.follow(now));
        let queue = self.lock();
        LimiterSnapshot {
            limit: queue.limit(),
            paused_for: queue.pause_left(now),
            waiting: queue.waiting_by_lane(),
        }
    }

    /// Changes something that may make the first in the queue wait for a shorter or longer time.
    fn change(&self, change: impl FnOnce(&mut Queue<Arc<Notify>>)) {
        let mut queue = self.lock();
        let before = queue.limit();
        change(&mut queue);
        if queue.limit() != before {
            wake_head(&queue);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Arc<Notify>>> {
        // Every change under the lock is complete or not begun: a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    limiter: &'a RateLimiter,
    priority: Priority,
    ticket: Ticket,
    woken: Arc<Notify>,
}

impl Place<'_> {
    async fn wait(self, give_up: Instant) -> Result<(), Refusal> {
        // Bounded by `give_up`: every round ends by then, or because something changed for the first in the queue.
        loop {
            let now = clock();
            let ask_again = match self.turn(now) {
                Turn::Now => return Ok(()),
                Turn::At(at) if at > give_up => return Err(self.refusal(now)),
                Turn::At(_) | Turn::Later if now >= give_up => return Err(self.refusal(now)),
                Turn::At(at) => at,
                Turn::Later => give_up,
            };
            // Either way it is asked again.
            let _ = tokio::time::timeout_at(ask_again.into(), self.woken.notified()).await;
        }
    }

    fn turn(&self, now: Instant) -> Turn {
        self.limiter.lock().turn(self.ticket, now)
    }

    fn refusal(&self, now: Instant) -> Refusal {
        let mut queue = self.limiter.lock();
        // First, so that it is not told to wait for itself.
        queue.leave(self.ticket);
        queue.refusal(self.priority, now)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.limiter.lock();
        queue.leave(self.ticket);
        wake_head(&queue);
    }
}

/// A command that overtakes may make another lane's turn due: whoever is first now has to know.
fn take(queue: &mut Queue<Arc<Notify>>, priority: Priority, now: Instant) -> Result<(), Refusal> {
    queue.take(priority, now)?;
    wake_head(queue);
    Ok(())
}

fn wake_head(queue: &Queue<Arc<Notify>>) {
    if let Some(waker) = queue.head_waker() {
        waker.notify_one();
    }
}

/// Tokio's clock, which tests can stop.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
