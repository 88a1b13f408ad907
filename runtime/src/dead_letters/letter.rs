//! What a dead letter says.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use bytes::Bytes;

use crate::{
    message::{CommandSubject, Format, McpError, Priority, Raw},
    persistence::{StreamState, header, identify, unix_ms},
};

/// A dead letter without its body.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its stream sequence, by which it is shown, redriven and deleted.
    pub sequence: u64,
    /// The id of the message that died; empty where it does not say.
    pub id: String,
    /// The agent that could not handle it.
    pub agent: String,
    /// What it asked for.
    pub action: String,
    /// The error code that it ended with.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The errors of the attempts, the oldest first.
    pub errors: Vec<McpError>,
    /// Where it was published.
    pub original_subject: String,
    /// How long it has been dead, by the server's clock.
    pub age: Duration,
    /// When it was stored here: Unix milliseconds by the server's clock, for people.
    pub stored_at_ms: i64,
    /// The body's size in bytes, also of one in the object store.
    pub size: usize,
    /// The letter that it was redriven from, when it has died again.
    pub redriven_from: Option<u64>,
}

impl DeadLetter {
    /// Reads what there is; a letter that somebody else has written may lack anything.
    pub(crate) fn read(raw: &StreamMessage, state: &StreamState) -> Self {
        let text = |name| header(&raw.headers, name).unwrap_or_default();
        let mut tokens = raw.subject.split('.').skip(2);
        let agent = tokens.next().unwrap_or_default().to_owned();
        let (id, attempt) = identify(&raw.headers, "Mcp-Original-Nats-Msg-Id", &raw.payload);
        let stored_at_ms = unix_ms(raw.time);
        Self {
            sequence: raw.sequence,
            id,
            agent,
            action: tokens.collect::<Vec<_>>().join("."),
            reason: text("Mcp-Dead-Reason").to_owned(),
            attempts: text("Mcp-Attempts").parse().unwrap_or(attempt),
            errors: serde_json::from_str(text("Mcp-Errors")).unwrap_or_default(),
            original_subject: text("Mcp-Original-Subject").to_owned(),
            age: state.age(stored_at_ms),
            stored_at_ms,
            size: text("Mcp-Payload-Size")
                .parse()
                .unwrap_or(raw.payload.len()),
            redriven_from: text("Mcp-Redriven-From").parse().ok(),
        }
    }

    /// The lane of a command.
    #[must_use]
    pub fn lane(&self) -> Option<Priority> {
        CommandSubject::parse(&self.original_subject)?.lane
    }

    /// The error of the last attempt.
    #[must_use]
    pub fn last_error(&self) -> Option<McpError> {
        self.errors.last().cloned()
    }
}

/// Reads a letter as whoever lists and opens it does.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_letter(raw: StreamMessage) {
    let opened = OpenedLetter::open(raw, &StreamState::none());
    let _ = (opened.letter.lane(), opened.letter.last_error());
    let _ = opened.parameters();
}

/// A dead letter with all that was stored of it. Its body does not show in its `Debug` form.
#[derive(Clone)]
pub struct OpenedLetter {
    pub(super) letter: DeadLetter,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl OpenedLetter {
    pub(super) fn open(raw: StreamMessage, state: &StreamState) -> Self {
        let letter = DeadLetter::read(&raw, state);
        Self {
            letter,
            headers: raw.headers,
            body: raw.payload,
        }
    }

    /// What is known of it.
    #[must_use]
    pub fn letter(&self) -> &DeadLetter {
        &self.letter
    }

    /// The headers, as they are stored.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body of the message that died, byte for byte; empty when it is in the object store.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The command's parameters; `None` where the body is none that can be read, or in the object store.
    #[must_use]
    pub fn parameters(&self) -> Option<Raw> {
        let format = Format::from_content_type(header(&self.headers, "Content-Type")).ok()?;
        let mut fields: BTreeMap<String, Raw> = format.decode(&self.body).ok()?;
        Some(fields.remove("parameters").unwrap_or_default())
    }
}

impl fmt::Debug for OpenedLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedLetter")
            .field("letter", &self.letter)
            .finish_non_exhaustive()
    }
}
