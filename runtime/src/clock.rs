//! The server's time, as far as this process knows it.
//!
//! Ages are counted between two timestamps of the server, so that an agent whose own clock is wrong
//! by days still judges deadlines rightly.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds by this machine's clock.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(unix_nanos() / 1_000_000).unwrap_or_default()
}

fn unix_nanos() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
}

/// The server's clock: one reading of it, and the time that has passed here since.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    reading: Mutex<Option<(i64, Instant)>>,
}

impl ServerClock {
    /// Takes note that the server wrote `server_ms` between `sent` and now.
    pub(crate) fn observe(&self, server_ms: i64, sent: Instant) {
        let middle = sent + sent.elapsed() / 2;
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some((server_ms, middle));
    }

    /// Unix milliseconds by the server's clock; by this machine's before the first reading.
    pub(crate) fn now_ms(&self) -> i64 {
        let reading = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        match reading {
            // Counted on: a step of this machine's clock does not matter.
            Some((server_ms, at)) => server_ms.saturating_add(millis(at.elapsed())),
            None => signed(unix_ms()),
        }
    }

    /// How long ago the server wrote a timestamp of its own, never negative.
    pub(crate) fn age(&self, server_ms: i64) -> Duration {
        let age = self.now_ms().saturating_sub(server_ms);
        Duration::from_millis(u64::try_from(age).unwrap_or_default())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_do_not_depend_on_the_local_clock() {
        let clock = ServerClock::default();
        let two_days = 2 * 24 * 3600 * 1000;
        clock.observe(signed(unix_ms()) + two_days, Instant::now());
        let age = clock.age(signed(unix_ms()) + two_days - 5_000);
        assert!((4_900..6_000).contains(&age.as_millis()), "{age:?}");
        assert_eq!(clock.age(clock.now_ms() + 60_000), Duration::ZERO);
    }
}
