//! One delivery in one process, as far as it has come; and what that process does next with it.

use crate::{
    outcome::{Found, OutcomeRecord},
    receive::once::decision::Looks,
};

/// A delivery that somebody has.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) message: usize,
    pub(super) worker: usize,
    /// Told apart from other deliveries of the same message.
    pub(super) delivery: u64,
    pub(super) looks: Looks,
    pub(super) acted_at: u64,
    pub(super) at: At,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum At {
    /// Looks at the key next; not before this time.
    Look { not_before: u64 },
    /// Has seen this, and decides about it.
    Decide { found: Found },
    /// Has sent a reservation; the store may have moved on since the look.
    Reserve {
        revision: u64,
        record: OutcomeRecord,
    },
    /// The handler is at work.
    Run {
        held: Held,
        until: u64,
        renew_at: u64,
    },
    /// Writes its end.
    Write { held: Held },
    /// Answered; acknowledges its message.
    Acknowledge { again_at: Option<u64> },
}

/// A reservation.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) record: OutcomeRecord,
    pub(super) execution: u64,
}

/// One process.
#[derive(Debug)]
pub(super) struct Worker {
    /// A new one after each crash.
    pub(super) life: u64,
    pub(super) stopped_until: u64,
}

impl Worker {
    pub(super) fn instance(&self, number: usize) -> String {
        format!("worker_{number}_{}", self.life)
    }
}
