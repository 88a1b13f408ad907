//! Who is there, as one observer sees it, and what its reader has not been told yet. Pure: time is an argument.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use mcp_runtime::{
    PresenceRecord,
    transport::{Found, InstanceChange, InstanceKey as Key, PresenceChange},
};
use tokio::time::Instant;

use super::Filter;

/// Instances that are remembered, gone ones included; more are not seen.
const MOST: usize = 65_536;

/// How long one that has gone is remembered, so that its return is known as one.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What happened to an instance in view.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AgentChange {
    /// It has come into view.
    Online(PresenceRecord),
    /// It is in another state, or tells something else of itself. Its load alone is no change.
    Changed {
        /// As it was told before.
        before: PresenceRecord,
        /// As it is now.
        now: PresenceRecord,
    },
    /// It is no longer in view.
    Offline {
        /// As it was told before.
        last: PresenceRecord,
        /// Why.
        gone: Gone,
    },
}

/// Why an instance is no longer in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gone {
    /// It has taken leave.
    Left,
    /// It has given no sign of life for too long.
    Silent,
    /// It is alive and no longer what was asked for.
    Filtered,
}

#[derive(Debug)]
struct Known {
    revision: u64,
    lifetime: Duration,
    heard_at: Instant,
    /// `Err` when it has gone.
    now: Result<PresenceRecord, Gone>,
    /// Back after a silence: shown from then on.
    steady_at: Option<Instant>,
    shown: bool,
    told: Option<PresenceRecord>,
    is_news: bool,
}

#[derive(Debug)]
pub(super) struct Roster {
    filter: Filter,
    known: HashMap<Key, Known>,
    /// Each instance at most once.
    news: VecDeque<Key>,
    pruned_at: Option<Instant>,
}

impl Roster {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            known: HashMap::new(),
            news: VecDeque::new(),
            pruned_at: None,
        }
    }

    /// Takes in what was read from the bucket.
    pub(super) fn found(&mut self, found: Found, now: Instant) {
        let key = (found.record.agent.clone(), found.record.instance.clone());
        self.note(key, found.revision, Ok((found.record, found.lifetime)), now);
    }

    /// Takes in what the server has told.
    pub(super) fn heard(&mut self, change: PresenceChange, now: Instant) {
        let what = match change.change {
            InstanceChange::Alive(record, lifetime) => Ok((*record, lifetime)),
            InstanceChange::Left => Err(Gone::Left),
            InstanceChange::Silent => Err(Gone::Silent),
            _ => return,
        };
        self.note((change.agent, change.instance), change.revision, what, now);
    }

    fn note(
        &mut self,
        key: Key,
        revision: u64,
        what: Result<(PresenceRecord, Duration), Gone>,
        now: Instant,
    ) {
        self.prune(now);
        let room = self.known.len() < MOST;
        let Some(known) = self.known.get_mut(&key) else {
            if let (Ok((record, lifetime)), true) = (what, room) {
                let known = Known::new(revision, record, lifetime, now);
                self.known.insert(key.clone(), known);
                self.show(key, now);
            }
            return;
        };
        // A restarted server counts from the beginning again; then the time says what is later.
        let is_old = revision < known.revision && now - known.heard_at < known.lifetime;
        if is_old {
            return;
        }
        let was_silent = matches!(known.now, Err(Gone::Silent));
        known.revision = revision;
        known.heard_at = now;
        match what {
            Ok((record, lifetime)) => {
                if was_silent {
                    known.steady_at = Some(now + lifetime);
                }
                known.now = Ok(record);
                known.lifetime = lifetime;
            }
            Err(gone) => known.now = Err(gone),
        }
        self.show(key, now);
    }

    /// Judges whether an instance is to be seen, and whether that is news.
    fn show(&mut self, key: Key, now: Instant) {
        let Some(known) = self.known.get_mut(&key) else {
            return;
        };
        let is_steady = known.steady_at.is_none_or(|at| now >= at);
        if is_steady && known.now.is_ok() {
            known.steady_at = None;
        }
        let takes = known
            .now
            .as_ref()
            .is_ok_and(|record| self.filter.takes(record));
        known.shown = is_steady && takes;
        if known.change().is_some() && !known.is_news {
            known.is_news = true;
            self.news.push_back(key);
        }
    }

    /// The connection was lost: a server that has restarted counts its revisions from the beginning.
    pub(super) fn count_anew(&mut self) {
        for known in self.known.values_mut() {
            known.revision = 0;
        }
    }

    /// One that should have been heard is not in the bucket either: it has gone.
    pub(super) fn not_found(&mut self, key: Key, now: Instant) {
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.now.is_ok()) {
            known.now = Err(Gone::Silent);
            known.heard_at = now;
            self.show(key, now);
        }
    }

    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What the reader has not been told yet; of each instance the latest.
    pub(super) fn next_change(&mut self) -> Option<AgentChange> {
        while let Some(key) = self.news.pop_front() {
            let Some(known) = self.known.get_mut(&key) else {
                continue;
            };
            known.is_news = false;
            let change = known.change();
            known.told = known.in_view().cloned();
            if change.is_some() {
                return change;
            }
        }
        None
    }

    /// What is in view, ordered by agent and instance.
    pub(super) fn current(&self) -> Vec<PresenceRecord> {
        let mut records: Vec<PresenceRecord> = self
            .known
            .values()
            .filter_map(Known::in_view)
            .cloned()
            .collect();
        records.sort_by(|a, b| (&a.agent, &a.instance).cmp(&(&b.agent, &b.instance)));
        records
    }

    /// As [`Roster::current`]; all of it counts as told.
    pub(super) fn snapshot(&mut self) -> Vec<PresenceRecord> {
        self.news.clear();
        for known in self.known.values_mut() {
            known.is_news = false;
            known.told = known.in_view().cloned();
        }
        self.current()
    }

    /// Forgets who has gone long ago.
    fn prune(&mut self, now: Instant) {
        if self.pruned_at.is_some_and(|at| now - at < REMEMBERED / 10) {
            return;
        }
        self.pruned_at = Some(now);
        self.known.retain(|_, known| {
            known.now.is_ok() || known.is_news || now - known.heard_at < REMEMBERED
        });
    }
}

impl Known {
    fn new(revision: u64, record: PresenceRecord, lifetime: Duration, now: Instant) -> Self {
        Self {
            revision,
            lifetime,
            heard_at: now,
            now: Ok(record),
            steady_at: None,
            shown: false,
            told: None,
            is_news: false,
        }
    }

    fn in_view(&self) -> Option<&PresenceRecord> {
        self.now.as_ref().ok().filter(|_| self.shown)
    }

    /// What the reader would be told now.
    fn change(&self) -> Option<AgentChange> {
        match (&self.told, self.in_view()) {
            (None, Some(now)) => Some(AgentChange::Online(now.clone())),
            (Some(before), Some(now)) if !tells_the_same(before, now) => {
                Some(AgentChange::Changed {
                    before: before.clone(),
                    now: now.clone(),
                })
            }
            (Some(last), None) => Some(AgentChange::Offline {
                last: last.clone(),
                gone: self.now.as_ref().err().copied().unwrap_or(Gone::Filtered),
            }),
            _ => None,
        }
    }
}

/// Whether two records differ only in what every heartbeat changes.
fn tells_the_same(a: &PresenceRecord, b: &PresenceRecord) -> bool {
    let breakers = |record: &PresenceRecord| -> Vec<_> {
        let breakers = record.breakers.iter();
        breakers
            .map(|breaker| {
                (
                    breaker.target.clone(),
                    breaker.action.clone(),
                    breaker.state,
                )
            })
            .collect()
    };
    a.state == b.state
        && a.version == b.version
        && a.started_at == b.started_at
        && a.actions == b.actions
        && a.definitions == b.definitions
        && breakers(a) == breakers(b)
}

#[cfg(test)]
mod tests;
