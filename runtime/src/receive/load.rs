//! How busy this instance is: told in every reply and in its presence record.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::message::Load;

/// Waits that the percentile looks back on, at most.
const RECENT: usize = 128;

/// And for how long: what waited before that says nothing about the queue of now.
const RECENTLY: Duration = Duration::from_secs(1);

/// So long the percentile holds: it is told in every reply, and to put the waits in order for each would cost more than
/// the rest of the reply.
const HOLDS: Duration = Duration::from_millis(10);

/// The weight of the newest handler time in the running mean, as one part of this many.
const SMOOTHING: u64 = 8;

/// Counts what runs and remembers how long the latest commands waited.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    capacity: u32,
    in_flight: AtomicU32,
    typical_micros: AtomicU64,
    waits: Mutex<Waits>,
}

/// A command that runs, or has a pause in which it only waits for its turn.
pub(crate) struct Running {
    meter: Arc<LoadMeter>,
    /// `None` in a pause.
    since: Option<Instant>,
    worked: Duration,
}

impl Running {
    /// Counts it no longer, until it goes on.
    pub(crate) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.worked += since.elapsed();
            self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn go_on(&mut self) {
        if self.since.is_none() {
            self.meter.in_flight.fetch_add(1, Ordering::Relaxed);
            self.since = Some(Instant::now());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What ends in a pause has not come to its work.
        if let Some(since) = self.since {
            self.meter.note_end(self.worked + since.elapsed());
        }
    }
}

#[derive(Debug, Default)]
struct Waits {
    recent: Vec<(Instant, Duration)>,
    next: usize,
    p95: Option<(Instant, Duration)>,
}

impl LoadMeter {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            in_flight: AtomicU32::new(0),
            typical_micros: AtomicU64::new(0),
            waits: Mutex::default(),
        }
    }

    /// Counts a command as running until the returned guard is dropped, also by a panic.
    pub(crate) fn begin(self: &Arc<Self>, waited: Duration) -> Running {
        self.note_begin(waited);
        Running {
            meter: Arc::clone(self),
            since: Some(Instant::now()),
            worked: Duration::ZERO,
        }
    }

    fn note_begin(&self, waited: Duration) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waits.next;
        match waits.recent.get_mut(next) {
            Some(oldest) => *oldest = (Instant::now(), waited),
            None => waits.recent.push((Instant::now(), waited)),
        }
        waits.next = (next + 1) % RECENT;
    }

    fn note_end(&self, took: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.typical_micros.load(Ordering::Relaxed);
        let after = match before {
            0 => took,
            _ => before - before / SMOOTHING + took / SMOOTHING,
        };
        self.typical_micros.store(after, Ordering::Relaxed);
    }

    /// The running mean of handler times; `None` before the first.
    pub(crate) fn typical(&self) -> Option<Duration> {
        match self.typical_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= self.capacity
    }

    pub(crate) fn load(&self) -> Load {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        Load {
            in_flight,
            capacity: self.capacity,
            utilization: (f64::from(in_flight) / f64::from(self.capacity)).min(1.0),
            queue_wait_p95_ms: self.wait_p95().as_secs_f64() * 1000.0,
        }
    }

    fn wait_p95(&self) -> Duration {
        let now = Instant::now();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, p95)) = waits.p95
            && now.duration_since(at) < HOLDS
        {
            return p95;
        }
        let recently = waits.recent.iter();
        let recently = recently.filter(|(began, _)| now.duration_since(*began) < RECENTLY);
        let mut recent: Vec<Duration> = recently.map(|(_, waited)| *waited).collect();
        recent.sort_unstable();
        let place = recent.get(recent.len() * 95 / 100).or(recent.last());
        let p95 = place.copied().unwrap_or_default();
        waits.p95 = Some((now, p95));
        p95
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_waits_is_no_load() {
        let meter = Arc::new(LoadMeter::new(4));
        let mut running = meter.begin(Duration::ZERO);
        let utilization = || meter.load().utilization;
        assert_eq!(utilization(), 0.25);
        running.pause();
        running.pause();
        assert_eq!(utilization(), 0.0);
        running.go_on();
        assert_eq!(utilization(), 0.25);
        running.pause();
        drop(running);
        assert_eq!((utilization(), meter.typical()), (0.0, None));
    }

    #[test]
    fn load_tells_what_runs_and_what_waited() {
        let meter = LoadMeter::new(4);
        for wait in 1..=100 {
            meter.note_begin(Duration::from_millis(wait));
        }
        for _ in 0..98 {
            meter.note_end(Duration::from_millis(8));
        }
        let load = meter.load();
        assert_eq!(
            (load.in_flight, load.capacity, load.utilization),
            (2, 4, 0.5)
        );
        assert!(
            (load.queue_wait_p95_ms - 96.0).abs() < 1.0,
            "{}",
            load.queue_wait_p95_ms
        );
        assert_eq!(meter.typical(), Some(Duration::from_millis(8)));
    }
}
