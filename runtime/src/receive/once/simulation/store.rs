//! The bucket: compare-and-set, reservations that expire, acknowledgements that are lost.

use crate::outcome::{Found, OutcomeRecord, OutcomeState};

/// A reservation lives so long without a renewal.
pub(super) const LEASE_MS: u64 = 10_000;

/// What is left of a released key stays so long.
const RELEASED_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Store {
    revision: u64,
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    revision: u64,
    record: OutcomeRecord,
    released: bool,
    expires_at: u64,
}

impl Store {
    /// What whoever looks now is shown.
    pub(super) fn read(&self, now: u64) -> Found {
        match &self.entry {
            Some(entry) if entry.expires_at > now => Found {
                revision: entry.revision,
                record: Some(entry.record.clone()),
                released: entry.released,
            },
            // Expired, and swept: as if it had never been.
            _ => Found::default(),
        }
    }

    /// The new revision, unless somebody has written since.
    pub(super) fn write(
        &mut self,
        now: u64,
        expected: u64,
        record: OutcomeRecord,
        released: bool,
    ) -> Option<u64> {
        let found = self.read(now);
        if found.revision != expected {
            return None;
        }
        let stands = found.record.filter(|_| !found.released);
        if let Some(stands) = stands.filter(|record| record.state == OutcomeState::Done) {
            panic!("what is done was written over: {stands:?} by {record:?}");
        }
        self.revision += 1;
        let lives = match (record.state, released) {
            (_, true) => RELEASED_MS,
            (OutcomeState::Reserved, false) => LEASE_MS,
            _ => u64::MAX / 2,
        };
        self.entry = Some(Entry {
            revision: self.revision,
            record,
            released,
            expires_at: now + lives,
        });
        Some(self.revision)
    }
}
