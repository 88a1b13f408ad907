//! Everything that reads what anybody may send, as functions of bytes: for the fuzzer, and for a short run of the same
//! among the tests. Compiled for tests and with the feature `fuzzing` only.
//!
//! Each returns, whatever it is given; and what can be read can be written and read again.

#[cfg(test)]
mod tests;

use async_nats::{HeaderMap, HeaderValue, Message, jetstream::message::StreamMessage};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use crate::{
    dead_letters,
    message::{
        Command, CommandSubject, Event, Format, Name, Namespace, Priority, Raw, Reply, Token, pack,
    },
    outcome::{OutcomeKey, OutcomeRecord},
    payload, persistence,
    presence::{PresenceChange, PresenceRecord},
    receive::{self, DeliveryInfo},
    topology::ServerVersion,
    trace::TraceContext,
};

/// Reads bytes.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("commands", commands),
    ("replies", replies),
    ("events", events),
    ("records", records),
    ("packs", packs),
    ("subjects", subjects),
    ("headers", headers),
    ("messages", messages),
    ("letters", letters),
    ("outbox", outbox),
];

/// The headers that somebody reads.
const NAMES: [&str; 22] = [
    "Content-Type",
    "traceparent",
    "tracestate",
    "Mcp-Payload",
    "Mcp-Payload-Size",
    "Mcp-Payload-Sha256",
    "Mcp-Age-Ms",
    "Mcp-Pack",
    "Mcp-Original-Nats-Msg-Id",
    "Nats-Msg-Id",
    "Nats-Sequence",
    "Nats-Last-Sequence",
    "Nats-Num-Pending",
    "Nats-TTL",
    "Nats-Marker-Reason",
    "KV-Operation",
    "Mcp-Dead-Reason",
    "Mcp-Attempts",
    "Mcp-Errors",
    "Mcp-Original-Subject",
    "Mcp-Redriven-From",
    "Mcp-Stored-At",
];

/// The first byte chooses the format.
#[must_use]
pub fn split(data: &[u8]) -> Option<(Format, &[u8])> {
    let (first, body) = data.split_first()?;
    match first % 2 {
        0 => Some((Format::Msgpack, body)),
        _ => Some((Format::Json, body)),
    }
}

/// What was read is written, and read again.
///
/// # Panics
/// When the second reading fails: that is a finding.
pub fn again<T: Serialize + DeserializeOwned>(value: &T) {
    // What has non-finite numbers or is too deep may be refused, not written wrongly.
    if let Ok(body) = Format::Msgpack.encode(value) {
        let read = Format::Msgpack.decode::<T>(&body);
        assert!(read.is_ok(), "written and not read: {:?}", read.err());
    }
}

/// Commands, and the key that their outcome lies under.
pub fn commands(data: &[u8]) {
    let Some((format, body)) = split(data) else {
        return;
    };
    if let Ok(command) = Command::decode(format, body) {
        again(&command);
        let _ = OutcomeKey::of(&command);
        let _ = command.parameters.decode::<serde_json::Value>();
    }
    let _ = persistence::identify(&HeaderMap::new(), "Nats-Msg-Id", body);
}

/// Reply frames.
pub fn replies(data: &[u8]) {
    let Some((format, body)) = split(data) else {
        return;
    };
    if let Ok(reply) = format.decode::<Reply>(body) {
        again(&reply);
        let _ = reply.into_outcome();
    }
}

/// Events.
pub fn events(data: &[u8]) {
    let Some((format, body)) = split(data) else {
        return;
    };
    if let Ok(event) = Event::decode(format, body) {
        again(&event);
    }
}

/// What lies in buckets, and values of any shape.
pub fn records(data: &[u8]) {
    let Some((format, body)) = split(data) else {
        return;
    };
    if let Ok(record) = format.decode::<OutcomeRecord>(body) {
        again(&record);
    }
    if let Ok(record) = serde_json::from_slice::<PresenceRecord>(body) {
        again(&record);
    }
    if let Ok(raw) = format.decode::<std::collections::BTreeMap<String, Raw>>(body) {
        again(&raw);
        let _ = Format::Json.encode(&raw);
    }
}

/// Many commands in one message.
pub fn packs(data: &[u8]) {
    let Some((count, body)) = data.split_first() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let _ = pack::decode(&body, Some(&count.to_string()));
}

/// Names, subjects and versions.
pub fn subjects(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = CommandSubject::parse(text);
    let _ = DeliveryInfo::parse(text);
    let _ = Name::new(text);
    let _ = Token::new(text);
    let _ = text.parse::<Namespace>();
    let _ = text.parse::<Priority>();
    let _ = ServerVersion::parse(text);
    let _ = Namespace::default().allows_reply_to(text);
}

/// Headers: each line a byte that chooses the name, and the value.
pub fn headers(data: &[u8]) {
    let headers = headers_of(data);
    payload::read_headers(&headers);
    let _ = TraceContext::extract(Some(&headers));
    let _ = receive::age_before(Some(&headers));
    let _ = persistence::identify(&headers, "Mcp-Original-Nats-Msg-Id", b"");
    let content_type = headers.get("Content-Type").map(HeaderValue::as_str);
    let _ = Format::from_content_type(content_type);
}

/// Whole messages of control and presence: subject, headers and body, each ended by a zero byte.
pub fn messages(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (Some(subject), Some(headers), Some(body)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Ok(subject) = std::str::from_utf8(subject) else {
        return;
    };
    let message = Message {
        subject: subject.into(),
        reply: None,
        length: body.len(),
        payload: Bytes::copy_from_slice(body),
        headers: Some(headers_of(headers)),
        status: None,
        description: None,
    };
    let _ = PresenceChange::read(&message);
    receive::read_control(&message);
}

/// Dead letters: subject, headers and body, each ended by a zero byte.
pub fn letters(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (Some(subject), Some(headers), Some(body)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Ok(subject) = std::str::from_utf8(subject) else {
        return;
    };
    dead_letters::read_letter(StreamMessage {
        subject: subject.into(),
        sequence: 1,
        headers: headers_of(headers),
        payload: Bytes::copy_from_slice(body),
        time: OffsetDateTime::UNIX_EPOCH,
    });
}

/// Entries of an outbox file.
pub fn outbox(data: &[u8]) {
    persistence::read_entry(data);
}

fn headers_of(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(NAMES.len()) {
        let Some((which, value)) = line.split_first() else {
            continue;
        };
        let value = std::str::from_utf8(value).ok();
        if let Some(value) = value.and_then(|value| value.parse::<HeaderValue>().ok()) {
            headers.insert(NAMES[usize::from(*which) % NAMES.len()], value);
        }
    }
    headers
}
