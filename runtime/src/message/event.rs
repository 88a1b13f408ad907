//! A statement that something happened.

use serde::{Deserialize, Serialize};

use super::{Name, PROTOCOL_VERSION, Priority, Raw, command::new_message_id};

/// An event as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The protocol's version, 1.
    pub v: u8,
    /// Always `"event"`.
    pub kind: EventKind,
    /// The message id.
    pub id: String,
    /// The agent it happened to.
    pub source: Name,
    /// What happened.
    pub name: Name,
    /// What there is to know about it.
    #[serde(default)]
    pub data: Raw,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Unix milliseconds.
    pub created_at: u64,
    /// The conversation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The message that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
}

/// The `kind` of an event's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// An event.
    #[serde(rename = "event")]
    Event,
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn new(source: Name, name: Name, data: Raw) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            kind: EventKind::Event,
            id: new_message_id(),
            source,
            name,
            data,
            priority: None,
            created_at: crate::unix_ms(),
            conversation_id: None,
            causation_id: None,
        }
    }
}
