//! The server's time, as far as this process knows it.
//!
//! Ages are counted between two timestamps of the server, so that an agent whose own clock is wrong
//! by days still judges deadlines rightly.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
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

/// How far the server's clock is ahead of this machine's.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    /// Takes note that the server wrote `server_ms` between the local times `sent_ms` and now.
    pub(crate) fn observe(&self, server_ms: i64, sent_ms: u64) {
        let local = i64::midpoint(signed(sent_ms), signed(unix_ms()));
        self.offset_ms.store(server_ms - local, Ordering::Relaxed);
    }

    /// Unix milliseconds by the server's clock.
    pub(crate) fn now_ms(&self) -> i64 {
        signed(unix_ms()) + self.offset_ms.load(Ordering::Relaxed)
    }

    /// How long ago the server wrote a timestamp of its own, never negative.
    pub(crate) fn age(&self, server_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms() - server_ms).unwrap_or_default())
    }
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
        clock.observe(signed(unix_ms()) + two_days, unix_ms());
        let age = clock.age(signed(unix_ms()) + two_days - 5_000);
        assert!((4_900..6_000).contains(&age.as_millis()), "{age:?}");
        assert_eq!(clock.age(clock.now_ms() + 60_000), Duration::ZERO);
    }
}
