//! Which dead letters are wanted.

use std::{collections::BTreeSet, time::Duration};

use crate::message::{Name, Namespace};

use super::DeadLetter;

/// Letters of one page when the filter says nothing else, and at most: an answer is held in memory.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

/// A choice of dead letters; without conditions all of them.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    agent: Option<Name>,
    action: Option<Name>,
    reason: Option<String>,
    min_age: Option<Duration>,
    max_age: Option<Duration>,
    ids: BTreeSet<String>,
    sequences: BTreeSet<u64>,
    after: Option<u64>,
    limit: Option<usize>,
}

impl DeadLetterFilter {
    /// All dead letters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of one agent.
    #[must_use]
    pub fn agent(mut self, agent: Name) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Only those for one action.
    #[must_use]
    pub fn action(mut self, action: Name) -> Self {
        self.action = Some(action);
        self
    }

    /// Only those that ended with this error code.
    #[must_use]
    pub fn reason(mut self, code: impl Into<String>) -> Self {
        self.reason = Some(code.into());
        self
    }

    /// Only those that have been dead for at least this long.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.min_age = Some(age);
        self
    }

    /// Only those that have been dead for at most this long.
    #[must_use]
    pub fn younger_than(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Only the letter of the message with this id; called again, or with that one.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.insert(id.into());
        self
    }

    /// Only the letter with this stream sequence; called again, or with that one.
    #[must_use]
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.sequences.insert(sequence);
        self
    }

    /// Only letters behind this stream sequence: the last of the page before.
    #[must_use]
    pub fn after(mut self, sequence: u64) -> Self {
        self.after = Some(sequence);
        self
    }

    /// At most so many in one page (default 100, at most 10,000).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) fn page_size(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
    }

    /// The bound that the caller has set on all of it, where there is one.
    pub(super) fn total(&self) -> Option<usize> {
        self.limit
    }

    pub(super) fn from(&self) -> u64 {
        let behind = self.after.map_or(0, |after| after.saturating_add(1));
        behind.max(self.sequences.first().copied().unwrap_or_default())
    }

    /// The narrowest subject that holds all that is asked for.
    pub(super) fn subject(&self, namespace: &Namespace) -> String {
        let agent = self.agent.as_ref().map_or("*", Name::as_str);
        let action = self.action.as_ref().map_or(">", Name::as_str);
        format!("{namespace}.dead.{agent}.{action}")
    }

    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        self.reason
            .as_ref()
            .is_none_or(|reason| *reason == letter.reason)
            && self.min_age.is_none_or(|age| letter.age >= age)
            && self.max_age.is_none_or(|age| letter.age <= age)
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
            && (self.sequences.is_empty() || self.sequences.contains(&letter.sequence))
    }
}
