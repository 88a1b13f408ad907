//! A statement that something happened.

use serde::{Deserialize, Serialize};

use super::{
    DecodeError, Format, Name, PROTOCOL_VERSION, Priority, Raw,
    command::{Kind, new_message_id},
};

/// An event as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The protocol's version, 1.
    pub v: u8,
    /// Always [`Kind::Event`].
    pub kind: Kind,
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

impl Event {
    /// Decodes and checks what the type system cannot.
    ///
    /// # Errors
    /// When the body is no event of this version.
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, DecodeError> {
        let event: Self = format.decode(body)?;
        match (event.v, event.kind) {
            (PROTOCOL_VERSION, Kind::Event) => Ok(event),
            (PROTOCOL_VERSION, _) => Err(DecodeError::new("`kind` is not `event`")),
            (version, _) => Err(DecodeError::new(format!(
                "version {version} is not supported, only 1 is"
            ))),
        }
    }

    /// An event of now.
    #[must_use]
    pub fn new(source: Name, name: Name, data: Raw) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            kind: Kind::Event,
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
