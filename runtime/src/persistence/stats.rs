//! Counters of what a persistence has been asked for, and how often it failed.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something succeeded and failed since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Calls that ended well; finding nothing is well.
    pub succeeded: u64,
    /// Calls that ended with an error.
    pub failed: u64,
}

/// A snapshot of the counters of one persistence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistenceStats {
    /// Of `save`.
    pub saved: Count,
    /// Of `load`.
    pub loaded: Count,
    /// Of `delete`.
    pub deleted: Count,
    /// Of `query`.
    pub queried: Count,
    /// Of `mark_processed`; an outbox counts the entries it has cleared after their publish acknowledgement.
    pub processed: Count,
    /// Of `recover`.
    pub recovered: Count,
}

/// The verbs that are counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Save,
    Load,
    Delete,
    Query,
    MarkProcessed,
    Recover,
}

#[derive(Debug, Default)]
struct Counter {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// The counters behind [`PersistenceStats`].
#[derive(Debug, Default)]
pub(super) struct Counters([Counter; 6]);

impl Counters {
    /// Counts a result, and passes it on.
    pub(super) fn count<T, E>(&self, verb: Verb, result: Result<T, E>) -> Result<T, E> {
        let counter = &self.0[verb as usize];
        match &result {
            Ok(_) => counter.succeeded.fetch_add(1, Ordering::Relaxed),
            Err(_) => counter.failed.fetch_add(1, Ordering::Relaxed),
        };
        result
    }

    pub(super) fn snapshot(&self) -> PersistenceStats {
        let of = |verb: Verb| {
            let counter = &self.0[verb as usize];
            Count {
                succeeded: counter.succeeded.load(Ordering::Relaxed),
                failed: counter.failed.load(Ordering::Relaxed),
            }
        };
        PersistenceStats {
            saved: of(Verb::Save),
            loaded: of(Verb::Load),
            deleted: of(Verb::Delete),
            queried: of(Verb::Query),
            processed: of(Verb::MarkProcessed),
            recovered: of(Verb::Recover),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_and_failures_are_counted_by_verb() {
        let counters = Counters::default();
        for result in [Ok(()), Ok(()), Err(())] {
            let _ = counters.count(Verb::Save, result);
        }
        let _ = counters.count(Verb::Recover, Err::<(), _>(()));
        let stats = counters.snapshot();
        assert_eq!(
            stats.saved,
            Count {
                succeeded: 2,
                failed: 1
            }
        );
        assert_eq!(
            stats.recovered,
            Count {
                succeeded: 0,
                failed: 1
            }
        );
        assert_eq!(stats.loaded, Count::default());
    }
}
