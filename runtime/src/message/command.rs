//! A request to do something.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::{DecodeError, Format, Name, PROTOCOL_VERSION, Priority, Raw};

/// A command as it travels; `PROTOCOL.md` section 3 has the meaning of each field.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Command {
    /// The protocol's version, 1.
    pub v: u8,
    /// Always [`Kind::Command`].
    pub kind: Kind,
    /// The message id, the same for every attempt of one command.
    #[serde(deserialize_with = "message_id")]
    pub id: String,
    /// The sending agent's name.
    pub source: Name,
    /// The agent that is to do it.
    pub target: Name,
    /// What is to be done.
    pub action: Name,
    /// What the action needs to know.
    #[serde(default)]
    pub parameters: Raw,
    /// The lane.
    #[serde(default)]
    pub priority: Priority,
    /// Unix milliseconds; for people, no decision uses it.
    pub created_at: u64,
    /// How long the command is worth doing, counted from when the server stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// At most one outcome is stored for one key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// 1 for the first; counts attempts of requester or runtime, not redeliveries.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// The subject for reply frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Asks the runtime to retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The conversation the command belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The message that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
}

/// How often and how patiently the runtime retries a submitted command.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// The delay before the first retry; doubles with each.
    #[serde(default = "default_base_delay_ms")]
    pub base_delay_ms: u64,
    /// The longest delay.
    #[serde(default = "default_max_delay_ms")]
    pub max_delay_ms: u64,
    /// 0 to 1: which share of the delay is random.
    #[serde(default = "full_jitter")]
    pub jitter: f64,
}

/// The `kind` of a stored message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
// Through a text: msgpack would otherwise also take a variant's number.
#[serde(rename_all = "lowercase", try_from = "String")]
#[non_exhaustive]
pub enum Kind {
    /// A request to do something.
    Command,
    /// A statement that something happened.
    Event,
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "command" => Ok(Self::Command),
            "event" => Ok(Self::Event),
            _ => Err("the kind is neither `command` nor `event`".to_owned()),
        }
    }
}

const fn first_attempt() -> u32 {
    1
}

const fn default_base_delay_ms() -> u64 {
    100
}

const fn default_max_delay_ms() -> u64 {
    5_000
}

const fn full_jitter() -> f64 {
    1.0
}

/// Ids become subject tokens and header values: only the canonical form is let in.
fn message_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    match is_message_id(&id) {
        true => Ok(id),
        false => Err(serde::de::Error::custom(
            "not a UUID in hyphenated lower case",
        )),
    }
}

pub(crate) fn is_message_id(id: &str) -> bool {
    id.len() == 36
        && uuid::Uuid::try_parse(id).is_ok()
        && !id.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A new message id: a UUIDv7, hyphenated, in lower case.
#[must_use]
pub fn new_message_id() -> String {
    uuid::Uuid::now_v7().hyphenated().to_string()
}

impl Command {
    /// A command with nothing optional set.
    #[must_use]
    pub fn new(source: Name, target: Name, action: Name, parameters: Raw) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            kind: Kind::Command,
            id: new_message_id(),
            source,
            target,
            action,
            parameters,
            priority: Priority::default(),
            created_at: crate::unix_ms(),
            ttl_ms: None,
            idempotency_key: None,
            attempt: 1,
            reply_to: None,
            retry: None,
            conversation_id: None,
            causation_id: None,
        }
    }

    /// Decodes and checks what the type system cannot: version, key length, attempt.
    ///
    /// # Errors
    /// When the body is no command of this version.
    pub fn decode(format: Format, body: &[u8]) -> Result<Self, DecodeError> {
        let command: Self = format.decode(body)?;
        if command.v != PROTOCOL_VERSION {
            return Err(DecodeError::new(format!(
                "version {} is not supported, only 1 is",
                command.v
            )));
        }
        if command.kind != Kind::Command {
            return Err(DecodeError::new("`kind` is not `command`"));
        }
        let key_length = command.idempotency_key.as_ref().map(String::len);
        if key_length.is_some_and(|length| !(1..=256).contains(&length)) {
            return Err(DecodeError::new(
                "`idempotency_key` must have 1 to 256 bytes",
            ));
        }
        if command.attempt == 0 {
            return Err(DecodeError::new("`attempt` counts from 1"));
        }
        let jitter = command.retry.map_or(1.0, |retry| retry.jitter);
        if !(0.0..=1.0).contains(&jitter) {
            return Err(DecodeError::new("`retry.jitter` must lie between 0 and 1"));
        }
        Ok(command)
    }

    /// How long the command is worth doing.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }
}

/// Serialises a duration as whole milliseconds.
pub(super) fn as_millis<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let millis = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    millis.serialize(serializer)
}

/// Reads whole milliseconds as a duration.
pub(super) fn from_millis<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}
