//! The last messages of a process, kept in memory: what `mcpctl history` shows, and whoever debugs a program.
//!
//! A fixed ring: a new entry takes the place of the oldest. No entry holds anything of a body.

mod ask;

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{clock::unix_ms, message::Name};

pub use ask::InstanceHistory;
pub(crate) use ask::ask;

/// What is kept unless the configuration says otherwise: about 40 KiB.
pub(crate) const DEFAULT_HISTORY: usize = 256;

/// The most that can be kept: an answer to `mcpctl history` is to stay well below what one message may carry.
pub const MOST_HISTORY: usize = 2_048;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// By this process.
    Sent,
    /// To this process.
    Received,
}

/// What kind of message it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastKind {
    /// A command whose sender waits for the reply.
    Command,
    /// A command that was handed over.
    Submit,
    /// An event.
    Event,
}

/// A message whose work is over, as far as this process is concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastMessage {
    /// When it was over, in milliseconds since 1970 by this machine's clock.
    pub at_ms: u64,
    /// Which way it went.
    pub direction: Direction,
    /// What kind of message it was.
    pub kind: PastKind,
    /// The other side: the target of what was sent, the source of what was received.
    pub peer: Name,
    /// The action or event.
    pub name: Name,
    /// The message's id.
    pub id: String,
    /// Attempts of what was sent; which delivery of what was received. From 1.
    pub attempt: u32,
    /// The error's code; none for a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long the sender waited, or the receiver worked, in milliseconds.
    pub took_ms: f64,
}

/// What is noted of a message.
pub(crate) struct Note<'a> {
    pub(crate) direction: Direction,
    pub(crate) kind: PastKind,
    pub(crate) peer: &'a Name,
    pub(crate) name: &'a Name,
    pub(crate) id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) error: Option<String>,
    pub(crate) took: Duration,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct History {
    most: usize,
    ring: Mutex<VecDeque<PastMessage>>,
}

impl History {
    /// Keeps the last `most`; with 0 none.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.min(MOST_HISTORY),
            ring: Mutex::default(),
        }
    }

    pub(crate) fn note(&self, note: Note<'_>) {
        if self.most == 0 {
            return;
        }
        let message = PastMessage {
            at_ms: unix_ms(),
            direction: note.direction,
            kind: note.kind,
            peer: note.peer.clone(),
            name: note.name.clone(),
            id: note.id.to_owned(),
            attempt: note.attempt,
            error: note.error,
            took_ms: note.took.as_secs_f64() * 1_000.0,
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // The oldest is dropped outside of the lock.
        let _oldest = (ring.len() == self.most)
            .then(|| ring.pop_front())
            .flatten();
        ring.push_back(message);
        drop(ring);
    }

    /// The last messages, oldest first, at most so many.
    pub(crate) fn last(&self, most: usize) -> Vec<PastMessage> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = ring.len().saturating_sub(most);
        ring.iter().skip(skipped).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(history: &History, id: &str) {
        let name = Name::new("render").unwrap();
        history.note(Note {
            direction: Direction::Sent,
            kind: PastKind::Command,
            peer: &name,
            name: &name,
            id,
            attempt: 1,
            error: None,
            took: Duration::from_millis(3),
        });
    }

    fn ids(messages: &[PastMessage]) -> Vec<&str> {
        messages.iter().map(|message| message.id.as_str()).collect()
    }

    #[test]
    fn the_oldest_makes_place_for_the_newest() {
        let history = History::new(3);
        for id in ["1", "2", "3", "4", "5"] {
            note(&history, id);
        }
        assert_eq!(ids(&history.last(10)), ["3", "4", "5"]);
        assert_eq!(ids(&history.last(2)), ["4", "5"]);
        assert_eq!(history.last(1)[0].took_ms, 3.0);
    }

    #[test]
    fn none_is_kept_where_none_is_wanted_and_never_more_than_the_most() {
        let none = History::new(0);
        note(&none, "1");
        assert!(none.last(1).is_empty());
        let many = History::new(usize::MAX);
        for _ in 0..MOST_HISTORY + 10 {
            note(&many, "1");
        }
        assert_eq!(many.last(usize::MAX).len(), MOST_HISTORY);
    }
}
