//! Who may send next: the limiter's queue, without waiting and without locks.
//!
//! Tokens are taken only at the moment a command may leave, by that command itself. So one that gives up or is
//! cancelled holds none that could be lost; all it leaves behind is its place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::config::{LimiterConfig, weight};
use crate::Priority;
use crate::resilience::adapt::{LoadReport, RateAdapter, Signal};
use crate::resilience::bucket::TokenBucket;
use crate::resilience::config::Checked;
use crate::resilience::lanes::{LaneScheduler, RESERVED_TURNS, index};
use crate::resilience::refusal::{Refusal, RefusalReason};

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    lane: Priority,
    number: u64,
}

/// What a place in the queue is worth at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Send now: the tokens are taken and the place is given up.
    Now,
    /// Ask again then, or when woken.
    At(Instant),
    /// Others come first; ask again when woken.
    Later,
}

/// The queue before one target. `W` wakes whoever waits at a place.
#[derive(Debug)]
pub(super) struct Queue<W> {
    config: Checked<LimiterConfig>,
    adapter: RateAdapter,
    /// Absent while there is no limit.
    bucket: Option<TokenBucket>,
    /// What the bucket may owe.
    credit: f64,
    /// What the limit makes beyond the pace: kept for `critical`.
    reserve: Option<TokenBucket>,
    paused_until: Option<Instant>,
    scheduler: LaneScheduler,
    /// By lane, then by arrival.
    lanes: [BTreeMap<u64, W>; 4],
    arrivals: u64,
}

impl<W> Queue<W> {
    pub(super) fn new(config: Checked<LimiterConfig>) -> Self {
        // Parts of a checked whole.
        let part = "a checked configuration has checked parts";
        Self {
            adapter: RateAdapter::new(Checked::new(config.adapt).expect(part)),
            scheduler: LaneScheduler::new(Checked::new(config.floors).expect(part)),
            config,
            bucket: None,
            credit: 0.0,
            reserve: None,
            paused_until: None,
            lanes: std::array::from_fn(|_| BTreeMap::new()),
            arrivals: 0,
        }
    }

    /// Takes what a command costs if it may leave now, without waiting and before nobody whose turn it is.
    ///
    /// # Errors
    /// How long it would have to wait at least.
    pub(super) fn take(&mut self, lane: Priority, now: Instant) -> Result<(), Refusal> {
        let mut waiting = self.waiting();
        let first_in_lane = !waiting[index(lane)];
        waiting[index(lane)] = true;
        let next = first_in_lane && self.scheduler.peek_urgent(waiting) == Some(lane);
        if !next || self.pause_left(now).is_some() {
            return Err(self.refusal(lane, now));
        }
        match self.take_tokens(lane, now) {
            Ok(()) => {
                self.scheduler.served(lane, waiting);
                Ok(())
            }
            Err(_) => Err(self.refusal(lane, now)),
        }
    }

    /// Joins the queue, unless it is full or the turn cannot come before `give_up`.
    pub(super) fn join(
        &mut self,
        lane: Priority,
        waker: W,
        give_up: Instant,
        now: Instant,
    ) -> Result<Ticket, Refusal> {
        let refusal = self.refusal(lane, now);
        if self.len() >= self.config.max_waiting {
            return Err(Refusal {
                reason: RefusalReason::QueueFull,
                ..refusal
            });
        }
        if now + refusal.retry_after > give_up {
            return Err(refusal);
        }
        self.arrivals += 1;
        self.lanes[index(lane)].insert(self.arrivals, waker);
        Ok(Ticket {
            lane,
            number: self.arrivals,
        })
    }

    /// Asks whether it is this place's turn.
    pub(super) fn turn(&mut self, ticket: Ticket, now: Instant) -> Turn {
        if self.head() != Some(ticket) {
            return Turn::Later;
        }
        if let Some(left) = self.pause_left(now) {
            return Turn::At(now + left);
        }
        match self.take_tokens(ticket.lane, now) {
            Ok(()) => {
                self.scheduler.served(ticket.lane, self.waiting());
                self.leave(ticket);
                Turn::Now
            }
            // A limit that is lowered for a while comes back before that.
            Err(wait) => match self.adapter.drains_for(now) {
                Some(left) => Turn::At(now + wait.min(left)),
                None => Turn::At(now + wait),
            },
        }
    }

    /// Gives up a place; one that is given up already stays so.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.lanes[index(ticket.lane)].remove(&ticket.number);
    }

    /// The one to wake after anything changed.
    pub(super) fn head_waker(&self) -> Option<&W> {
        let head = self.head()?;
        self.lanes[index(head.lane)].get(&head.number)
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    pub(super) fn observe(
        &mut self,
        lane: Priority,
        signal: Signal,
        latency: Duration,
        now: Instant,
    ) {
        self.adapter.observe(signal, weight(lane), latency, now);
        self.follow(now);
    }

    pub(super) fn observe_load(&mut self, report: LoadReport, now: Instant) {
        self.adapter.observe_load(report, now);
        self.follow(now);
    }

    /// What a command of this lane is told when it is not to wait: nobody of its lane can be served sooner.
    pub(super) fn refusal(&mut self, lane: Priority, now: Instant) -> Refusal {
        let pause = self.pause_left(now);
        let ahead = self.lanes[index(lane)].len() as f64;
        let least = self.least(lane);
        let tokens = self.time_for((ahead + 1.0) * weight(lane) + least, now);
        Refusal {
            reason: pause.map_or(RefusalReason::RateLimited, |_| RefusalReason::Paused),
            retry_after: tokens.max(pause.unwrap_or_default()),
        }
    }

    /// How long until the bucket holds so many.
    fn time_for(&mut self, tokens: f64, now: Instant) -> Duration {
        let (drains, limit) = (self.adapter.drains_for(now), self.adapter.limit(now));
        let Some(bucket) = &mut self.bucket else {
            return Duration::ZERO;
        };
        let missing = tokens - bucket.available(now);
        let at_this_pace = bucket.time_for(missing);
        match (drains, limit) {
            (Some(left), Some(limit)) if at_this_pace > left => {
                let then = missing - bucket.rate() * left.as_secs_f64();
                left + Duration::try_from_secs_f64((then / limit).max(0.0)).unwrap_or(at_this_pace)
            }
            _ => at_this_pace,
        }
    }

    /// The rate as last followed.
    pub(super) fn limit(&self) -> Option<f64> {
        self.bucket.as_ref().map(TokenBucket::rate)
    }

    pub(super) fn pause_left(&self, now: Instant) -> Option<Duration> {
        self.paused_until?
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    pub(super) fn waiting_by_lane(&self) -> [usize; 4] {
        self.lanes.each_ref().map(BTreeMap::len)
    }

    fn len(&self) -> usize {
        self.waiting_by_lane().iter().sum()
    }

    fn waiting(&self) -> [bool; 4] {
        self.lanes.each_ref().map(|lane| !lane.is_empty())
    }

    fn head(&self) -> Option<Ticket> {
        let lane = self.scheduler.peek_urgent(self.waiting())?;
        let (&number, _) = self.lanes[index(lane)].first_key_value()?;
        Some(Ticket { lane, number })
    }

    fn take_tokens(&mut self, lane: Priority, now: Instant) -> Result<(), Duration> {
        self.follow(now);
        let (least, weight) = (self.least(lane), weight(lane));
        if let Some(bucket) = &mut self.bucket
            && let Err(wait) = bucket.try_take_leaving(least, weight, now)
            && !self.take_reserve(lane, now)
        {
            match lane {
                Priority::Critical => self.adapter.held_back_critical(),
                _ => self.adapter.held_back(),
            }
            return Err(wait);
        }
        self.adapter.sent(weight, now);
        Ok(())
    }

    /// While the pace is below the limit, the difference goes to `critical` alone: it need not wait for a queue of others.
    fn take_reserve(&mut self, lane: Priority, now: Instant) -> bool {
        let reserve = self.reserve.as_mut().filter(|_| lane == Priority::Critical);
        reserve.is_some_and(|reserve| {
            let weight = weight(lane);
            reserve.burst() >= weight && reserve.try_take(weight, now).is_ok()
        })
    }

    /// What has to be left in the bucket. `critical` has credit, and so has a lane that it has kept from its turn.
    fn least(&self, lane: Priority) -> f64 {
        let overdue = self.scheduler.overdue(self.waiting()).unwrap_or(0);
        let kept_back = || self.scheduler.peek(self.waiting()) == Some(lane);
        match lane == Priority::Critical || (overdue >= RESERVED_TURNS && kept_back()) {
            true => -self.credit,
            false => 0.0,
        }
    }

    /// Brings the bucket to the adapter's pace.
    pub(super) fn follow(&mut self, now: Instant) {
        let (Some(limit), Some(pace)) = (self.adapter.limit(now), self.adapter.pace(now)) else {
            (self.bucket, self.reserve) = (None, None);
            return;
        };
        let (burst, credit) = (self.config.burst_of(limit), self.config.credit_of(limit));
        match &mut self.bucket {
            Some(bucket) if bucket.rate() == pace && self.credit == credit => {}
            Some(bucket) => {
                // The end of a drain: nothing queues any more, and to pay back first would leave handlers idle.
                let was_slowed = self.reserve.as_ref().is_some_and(|it| it.rate() > 0.0);
                bucket.set_rate(pace, burst, now);
                bucket.forgive(if was_slowed && pace == limit {
                    0.0
                } else {
                    credit
                });
            }
            None => self.bucket = Some(TokenBucket::new(pace, burst, now)),
        }
        let (spare, kept) = (limit - pace, credit);
        match &mut self.reserve {
            Some(reserve) if reserve.rate() == spare && reserve.burst() == kept => {}
            Some(reserve) => reserve.set_rate(spare, kept, now),
            None => {
                let mut empty = TokenBucket::new(spare, 0.0, now);
                empty.set_rate(spare, kept, now);
                self.reserve = Some(empty);
            }
        }
        self.credit = credit;
    }
}

#[cfg(test)]
mod tests;
