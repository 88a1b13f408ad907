//! What a query asks for, and a page of its answer.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::message::{Name, Priority};

use super::{MessageState, StoredMessage};

/// Messages of one page when the query says nothing else.
const DEFAULT_LIMIT: usize = 100;

/// The largest page: an answer is held in memory.
const MAX_LIMIT: usize = 10_000;

/// Which stored messages are wanted; without conditions all of them.
///
/// ```
/// use std::time::Duration;
/// use mcp_runtime::{Name, persistence::{MessageQuery, MessageState}};
/// let stuck = MessageQuery::new()
///     .agent("renderer".parse()?)
///     .state(MessageState::Queued)
///     .older_than(Duration::from_secs(600))
///     .limit(20);
/// # Ok::<(), mcp_runtime::InvalidName>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MessageQuery {
    pub(super) agent: Option<Name>,
    pub(super) action: Option<Name>,
    pub(super) lane: Option<Priority>,
    pub(super) min_age: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) states: Vec<MessageState>,
    pub(super) ids: BTreeSet<String>,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<Cursor>,
}

/// Where a page ended and the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    pub(super) source: u8,
    pub(super) sequence: u64,
}

/// A part of a query's answer.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The messages: those in the queue first, then outcomes, then dead letters, each the oldest first.
    pub messages: Vec<StoredMessage>,
    /// For [`MessageQuery::after`]; `None` when there is no more.
    pub next: Option<Cursor>,
}

impl MessageQuery {
    /// All messages.
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

    /// Only those of one lane. Outcome records do not say their lane, so done messages are left out.
    #[must_use]
    pub fn lane(mut self, lane: Priority) -> Self {
        self.lane = Some(lane);
        self
    }

    /// Only those stored at least this long ago.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.min_age = Some(age);
        self
    }

    /// Only those stored at most this long ago.
    #[must_use]
    pub fn younger_than(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Only those in this state; called again, or in that one.
    #[must_use]
    pub fn state(mut self, state: MessageState) -> Self {
        self.states.push(state);
        self
    }

    /// Only the message with this id; called again, or with that one.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.insert(id.into());
        self
    }

    /// At most so many in one page (default 100, at most 10,000).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    pub(super) fn page_size(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
    }

    /// Whether messages in one of `states` are wanted at all.
    pub(super) fn wants_any(&self, states: &[MessageState]) -> bool {
        self.states.is_empty() || states.iter().any(|state| self.states.contains(state))
    }

    pub(super) fn matches(&self, message: &StoredMessage) -> bool {
        self.wants_any(&[message.state])
            && self
                .agent
                .as_ref()
                .is_none_or(|agent| agent.as_str() == message.agent)
            && self
                .action
                .as_ref()
                .is_none_or(|action| action.as_str() == message.action)
            && self.lane.is_none_or(|lane| Some(lane) == message.lane)
            && self.min_age.is_none_or(|age| message.age >= age)
            && self.max_age.is_none_or(|age| message.age <= age)
            && (self.ids.is_empty() || self.ids.contains(&message.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::Reference;

    fn message() -> StoredMessage {
        StoredMessage {
            id: "1".to_owned(),
            agent: "probe".to_owned(),
            action: "echo".to_owned(),
            lane: Some(Priority::High),
            state: MessageState::Queued,
            age: Duration::from_secs(60),
            stored_at_ms: 0,
            attempts: 1,
            size: 10,
            subject: "mcp.cmd.probe.high.echo".to_owned(),
            reference: Reference::Queue { sequence: 1 },
            error: None,
        }
    }

    #[test]
    fn conditions_are_all_asked_for() {
        let name = |text: &str| Name::new(text).unwrap();
        let minute = Duration::from_secs(60);
        let rows = [
            (MessageQuery::new(), true),
            (
                MessageQuery::new()
                    .agent(name("probe"))
                    .action(name("echo"))
                    .lane(Priority::High),
                true,
            ),
            (MessageQuery::new().agent(name("other")), false),
            (MessageQuery::new().action(name("other")), false),
            (MessageQuery::new().lane(Priority::Low), false),
            (
                MessageQuery::new().older_than(minute).younger_than(minute),
                true,
            ),
            (MessageQuery::new().older_than(minute * 2), false),
            (MessageQuery::new().younger_than(minute / 2), false),
            (MessageQuery::new().state(MessageState::Dead), false),
            (
                MessageQuery::new()
                    .state(MessageState::Dead)
                    .state(MessageState::Queued),
                true,
            ),
            (MessageQuery::new().id("1").id("2"), true),
            (MessageQuery::new().id("2"), false),
        ];
        for (query, expected) in rows {
            assert_eq!(query.matches(&message()), expected, "{query:?}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        let sizes = [0, 7, 1_000_000].map(|limit| MessageQuery::new().limit(limit).page_size());
        assert_eq!(sizes, [1, 7, MAX_LIMIT]);
        assert_eq!(MessageQuery::new().page_size(), DEFAULT_LIMIT);
    }
}
