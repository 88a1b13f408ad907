//! From a raw message in one of the streams to what a query answers.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;

use crate::{
    message::{CommandSubject, Format, Priority},
    outcome::{COMMAND_ID, OutcomeRecord, OutcomeState},
    persistence::{
        MessageState, Reference, StoredMessage, StreamState,
        identity::{header, identify},
        reader::unix_ms,
    },
};

/// The constructors; a type of its own only to keep them together.
pub(super) struct Described;

impl Described {
    /// A command in the queue, taken to be queued.
    pub(super) fn command(raw: &StreamMessage, state: &StreamState) -> Option<StoredMessage> {
        let subject = raw.subject.to_string();
        let before = header(&raw.headers, "Mcp-Age-Ms")
            .and_then(|age| age.parse().ok())
            .unwrap_or_default();
        let reference = Reference::Queue {
            sequence: raw.sequence,
        };
        let mut message = waiting(raw, &subject, reference, state);
        message.age += Duration::from_millis(before);
        Some(message)
    }

    /// A command that is to be delivered later: its own subject only names the agent and the id.
    pub(super) fn delayed(raw: &StreamMessage, state: &StreamState) -> Option<StoredMessage> {
        let target = header(&raw.headers, "Nats-Schedule-Target")?.to_owned();
        let reference = Reference::Delayed {
            sequence: raw.sequence,
        };
        let mut message = waiting(raw, &target, reference, state);
        message.subject = raw.subject.to_string();
        if let Some(id) = message.subject.split('.').nth(3) {
            message.id = id.to_owned();
        }
        Some(message)
    }

    /// The record of a command that has an outcome; others are no messages.
    pub(super) fn outcome(raw: &StreamMessage, state: &StreamState) -> Option<StoredMessage> {
        if raw.headers.get("KV-Operation").is_some() {
            return None;
        }
        let key: Vec<&str> = raw.subject.split('.').skip(2).collect();
        let [agent, action, _hash] = key.as_slice() else {
            return None;
        };
        let record: Option<OutcomeRecord> = match raw.headers.get("Mcp-Payload") {
            // Too large for one message: only a result is, and it is done.
            Some(_) => None,
            None => Some(Format::Msgpack.decode(&raw.payload).ok()?),
        };
        if record
            .as_ref()
            .is_some_and(|record| record.state != OutcomeState::Done)
        {
            return None;
        }
        let response = record.as_ref().and_then(|record| record.response.as_ref());
        let stored_at_ms = unix_ms(raw.time);
        let header = |name: &str| raw.headers.get(name).map(|value| value.as_str());
        let id = match &record {
            Some(record) => record.command_id.clone(),
            None => header(COMMAND_ID).unwrap_or_default().to_owned(),
        };
        let claimed_size = header("Mcp-Payload-Size").and_then(|size| size.parse().ok());
        Some(StoredMessage {
            id,
            agent: (*agent).to_owned(),
            action: (*action).to_owned(),
            lane: None,
            state: MessageState::Done,
            age: state.age(stored_at_ms),
            stored_at_ms,
            attempts: response.map_or(1, |response| response.attempt.max(1)),
            size: claimed_size.unwrap_or(raw.payload.len()),
            subject: raw.subject.to_string(),
            reference: Reference::Outcome {
                key: key.join("."),
                revision: raw.sequence,
            },
            error: response.and_then(|response| response.error.clone()),
        })
    }

    pub(super) fn dead_letter(raw: &StreamMessage, state: &StreamState) -> Option<StoredMessage> {
        let letter = crate::dead_letters::DeadLetter::read(raw, state);
        Some(StoredMessage {
            lane: letter.lane(),
            error: letter.last_error(),
            id: letter.id,
            agent: letter.agent,
            action: letter.action,
            state: MessageState::Dead,
            age: letter.age,
            stored_at_ms: letter.stored_at_ms,
            attempts: letter.attempts,
            size: letter.size,
            subject: raw.subject.to_string(),
            reference: Reference::DeadLetter {
                sequence: raw.sequence,
            },
        })
    }
}

fn waiting(
    raw: &StreamMessage,
    subject: &str,
    reference: Reference,
    state: &StreamState,
) -> StoredMessage {
    let (id, attempts) = identify(&raw.headers, "Nats-Msg-Id", &raw.payload);
    let (agent, lane, action) = command_parts(subject);
    let stored_at_ms = unix_ms(raw.time);
    StoredMessage {
        id,
        agent,
        action,
        lane,
        state: MessageState::Queued,
        age: state.age(stored_at_ms),
        stored_at_ms,
        attempts,
        size: raw.payload.len(),
        subject: subject.to_owned(),
        reference,
        error: None,
    }
}

/// Whatever can be said of a subject, also of one that is no command's.
fn command_parts(subject: &str) -> (String, Option<Priority>, String) {
    if let Some(parsed) = CommandSubject::parse(subject) {
        return (
            parsed.agent.to_owned(),
            parsed.lane,
            parsed.action.to_owned(),
        );
    }
    let mut tokens = subject.split('.').skip(2);
    let agent = tokens.next().unwrap_or_default().to_owned();
    let lane = tokens.next().and_then(|lane| lane.parse().ok());
    (agent, lane, tokens.collect::<Vec<_>>().join("."))
}
