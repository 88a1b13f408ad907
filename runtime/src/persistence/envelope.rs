//! A message ready to be published, or to wait for it.

use std::fmt;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    message::{Command, CommandSubject, EncodeError, Format, Namespace, Priority},
    store::Outgoing,
};

use super::identity::split;

/// An encoded message with its subject and headers. Its body never shows in a log line.
#[derive(Clone, Serialize, Deserialize)]
pub struct Envelope {
    id: String,
    subject: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    created_at_ms: u64,
}

impl Envelope {
    /// The envelope of a durable command.
    ///
    /// # Errors
    /// When the command cannot be encoded.
    pub fn of_command(namespace: &Namespace, command: &Command) -> Result<Self, EncodeError> {
        let body = Format::default().encode(command)?;
        let headers = vec![
            (
                "Nats-Msg-Id".to_owned(),
                format!("{}.{}", command.id, command.attempt),
            ),
            (
                "Content-Type".to_owned(),
                Format::default().content_type().to_owned(),
            ),
        ];
        let subject = namespace.command(&command.target, command.priority, &command.action);
        Ok(Self {
            id: command.id.clone(),
            subject,
            headers,
            body,
            created_at_ms: crate::unix_ms(),
        })
    }

    /// What the send path was about to publish.
    pub(crate) fn of_outgoing(id: impl Into<String>, outgoing: &Outgoing) -> Self {
        let mut headers = Vec::new();
        for (name, values) in outgoing.headers.iter() {
            let name: &str = name.as_ref();
            headers.extend(
                values
                    .iter()
                    .map(|value| (name.to_owned(), value.as_str().to_owned())),
            );
        }
        Self {
            id: id.into(),
            subject: outgoing.subject.clone(),
            headers,
            body: outgoing.body.clone(),
            created_at_ms: crate::unix_ms(),
        }
    }

    /// The message id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The subject it goes to.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Unix milliseconds by this machine's clock.
    #[must_use]
    pub fn created_at_ms(&self) -> u64 {
        self.created_at_ms
    }

    /// The body's length in bytes.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Agent, lane and action, when it is a durable command.
    pub(super) fn command(&self) -> Option<(&str, Priority, &str)> {
        let subject = CommandSubject::parse(&self.subject)?;
        Some((subject.agent, subject.lane?, subject.action))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The attempt in the header `Nats-Msg-Id`.
    pub(super) fn attempt(&self) -> u32 {
        self.header("Nats-Msg-Id")
            .and_then(split)
            .and_then(|(_, attempt)| attempt)
            .unwrap_or(1)
    }

    /// What was read from a file may carry headers that none can have; the client would panic over them.
    ///
    /// # Errors
    /// The first such header, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let readable = |(name, value): &&(String, String)| {
            name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
        };
        match self.headers.iter().find(|header| !readable(header)) {
            Some((name, _)) => Err(format!("its header {name:?} is none")),
            None => Ok(()),
        }
    }

    pub(super) fn outgoing(&self) -> Outgoing {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.as_str(), value.as_str());
        }
        Outgoing {
            subject: self.subject.clone(),
            headers,
            body: self.body.clone(),
        }
    }

    /// What is to be published after a time in the outbox: with its age, which counts towards its time to live.
    pub(super) fn outgoing_aged(&self) -> Outgoing {
        let before: u64 = self
            .header("Mcp-Age-Ms")
            .and_then(|age| age.parse().ok())
            .unwrap_or_default();
        let here = crate::unix_ms().saturating_sub(self.created_at_ms);
        let mut outgoing = self.outgoing();
        outgoing
            .headers
            .insert("Mcp-Age-Ms", before.saturating_add(here).to_string());
        outgoing
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("subject", &self.subject)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Name, Raw};

    fn envelope() -> Envelope {
        let name = |text: &str| Name::new(text).unwrap();
        let parameters = Raw::encode(&"the secret text").unwrap();
        let mut command = Command::new(name("test"), name("probe"), name("echo"), parameters);
        command.attempt = 3;
        Envelope::of_command(&Namespace::default(), &command).unwrap()
    }

    #[test]
    fn envelopes_know_what_they_carry_and_do_not_show_it() {
        let envelope = envelope();
        assert_eq!(
            envelope.command(),
            Some(("probe", Priority::Normal, "echo"))
        );
        assert_eq!(envelope.attempt(), 3);
        assert!(!format!("{envelope:?}").contains("secret"));
    }

    #[test]
    fn time_in_the_outbox_counts_as_age() {
        let mut envelope = envelope();
        envelope.created_at_ms -= 1_000;
        envelope
            .headers
            .push(("mcp-age-ms".to_owned(), "500".to_owned()));
        let outgoing = envelope.outgoing_aged();
        let age: u64 = outgoing
            .headers
            .get("Mcp-Age-Ms")
            .unwrap()
            .as_str()
            .parse()
            .unwrap();
        assert!((1_500..3_000).contains(&age), "{age}");
    }
}
