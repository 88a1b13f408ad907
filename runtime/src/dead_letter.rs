//! Messages that could not be handled, with their autopsy.

mod own;

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use tokio::time::Instant;

use crate::{
    client::Client,
    clock::unix_ms,
    message::McpError,
    receive::DeliveryInfo,
    store::{self, Outgoing, StoreError, Stored},
    telemetry::{self, Publishing},
};

/// How long storing a dead letter is tried before the message is left to redelivery.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the errors of all attempts may take of the headers, which hold 64 KB at most.
const MAX_ERRORS_BYTES: usize = 16 * 1024;

/// Why a message ended here.
pub(crate) struct Autopsy {
    /// An error code.
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    /// Of every attempt, the oldest first.
    pub(crate) errors: Vec<McpError>,
}

/// A dead letter ready to be stored.
pub(crate) struct DeadLetter {
    outgoing: Outgoing,
    /// What figures call the action, where that is not its name.
    counted_as: Option<&'static str>,
}

impl DeadLetter {
    /// The original body and headers with the autopsy beside them.
    pub(crate) fn of(message: &Message, info: &DeliveryInfo, autopsy: &Autopsy) -> Self {
        let mut headers = originals(message.headers.as_ref());
        let mut message_id = format!("dead.{}.{}", info.stream, info.stream_sequence);
        if let Some(place) = info.place {
            message_id.push_str(&format!(".{place}"));
        }
        headers.insert("Nats-Msg-Id", message_id);
        headers.insert("Mcp-Dead-Reason", autopsy.reason.as_str());
        headers.insert("Mcp-Dead-At", unix_ms().to_string());
        headers.insert("Mcp-Attempts", autopsy.attempts.to_string());
        headers.insert("Mcp-Errors", errors_json(&autopsy.errors));
        headers.insert("Mcp-Original-Subject", message.subject.as_str());
        let subject = subject_of(&message.subject);
        Self {
            outgoing: Outgoing {
                subject,
                headers,
                body: message.payload.clone(),
            },
            counted_as: None,
        }
    }

    /// Lets figures know the action by another word than what its sender wrote.
    pub(crate) fn counted_as(mut self, word: Option<&'static str>) -> Self {
        self.counted_as = word;
        self
    }

    /// Puts the letter under another agent: that of a subscriber whose event it was.
    pub(crate) fn under(
        mut self,
        client: &Client,
        agent: &crate::message::Name,
        name: &str,
    ) -> Self {
        self.outgoing.subject = client.namespace().dead_letter(agent, name);
        self
    }

    /// `<ns>.dead.<agent>.<action>`.
    fn about(&self) -> (&str, &str) {
        let mut tokens = self.outgoing.subject.split('.').skip(2);
        let mut token = || tokens.next().unwrap_or("unknown");
        (token(), token())
    }

    /// Gives the letter an id of the caller's making: what it is of was not delivered from a stream.
    pub(crate) fn known_as(mut self, message_id: &str) -> Self {
        self.outgoing.headers.insert("Nats-Msg-Id", message_id);
        self
    }

    pub(crate) async fn store(&self, client: &Client) -> Result<(), StoreError> {
        let publishing = Publishing::dead_letter(client, &self.outgoing.subject);
        publishing.sends(&self.outgoing);
        let stored = self.put(client).await;
        publishing.stored(&stored);
        let (agent, action) = self.about();
        let action = self.counted_as.unwrap_or(action);
        telemetry::dead_letter(agent, action, stored.is_ok());
        stored?;
        tracing::warn!(
            subject = self.outgoing.subject,
            "a message was put among the dead letters"
        );
        Ok(())
    }
}

impl DeadLetter {
    /// Stores it once, however often the message is delivered, and in spite of whoever has used its id for another.
    async fn put(&self, client: &Client) -> Result<Stored, StoreError> {
        let deadline = Instant::now() + STORE_TIMEOUT;
        let stored = store::store(client, &self.outgoing, deadline).await?;
        if !stored.duplicate {
            return Ok(stored);
        }
        match own::is_last(client, &self.outgoing, stored.sequence).await {
            Some(true) | None => Ok(stored),
            Some(false) => {
                let subject = &self.outgoing.subject;
                tracing::warn!(subject, "the id of a dead letter was taken, using another");
                store::store(client, &own::with_digest(self.outgoing.clone()), deadline).await
            }
        }
    }
}

/// `<ns>.cmd.<agent>.<lane>.<action>` becomes `<ns>.dead.<agent>.<action>`.
fn subject_of(original: &str) -> String {
    let tokens: Vec<&str> = original.split('.').collect();
    let token = |at: usize| {
        tokens
            .get(at)
            .copied()
            .filter(|token| !token.is_empty())
            .unwrap_or("unknown")
    };
    let action = tokens
        .last()
        .copied()
        .filter(|token| !token.is_empty())
        .unwrap_or("unknown");
    format!("{}.dead.{}.{}", token(0), token(2), action)
}

/// The server acts on `Nats-` headers: a copied message id would be deduplicated away, a copied
/// time-to-live refused.
fn originals(headers: Option<&HeaderMap>) -> HeaderMap {
    let mut copied = HeaderMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        let name = match name.get(..5) {
            Some(prefix) if prefix.eq_ignore_ascii_case("nats-") => format!("Mcp-Original-{name}"),
            _ => name.to_owned(),
        };
        for value in values {
            copied.append(name.as_str(), value.clone());
        }
    }
    copied
}

/// The author's headers of a message that is published again.
pub(crate) fn without_server_headers(headers: Option<&HeaderMap>) -> HeaderMap {
    let mut copied = HeaderMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        if name
            .get(..5)
            .is_none_or(|prefix| !prefix.eq_ignore_ascii_case("nats-"))
        {
            values
                .iter()
                .for_each(|value| copied.append(name, value.clone()));
        }
    }
    copied
}

/// The errors as a JSON array in ASCII, the oldest dropped beyond the bound.
fn errors_json(errors: &[McpError]) -> String {
    for skipped in 0..errors.len() {
        let json = serde_json::to_string(&errors[skipped..]).unwrap_or_default();
        if json.len() <= MAX_ERRORS_BYTES {
            return json;
        }
    }
    let last = errors
        .last()
        .map(|error| McpError::permanent(error.code.clone()).message("too long to keep"));
    serde_json::to_string(&last.into_iter().collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_lie_under_their_agent_and_action() {
        assert_eq!(subject_of("mcp.cmd.probe.low.echo"), "mcp.dead.probe.echo");
        assert_eq!(subject_of("mcp.cmd.probe.low.a.b"), "mcp.dead.probe.b");
    }

    #[test]
    fn server_headers_are_renamed() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "x.1");
        headers.insert("traceparent", "00-1-2-01");
        let copied = originals(Some(&headers));
        assert_eq!(
            copied.get("Mcp-Original-Nats-Msg-Id").unwrap().as_str(),
            "x.1"
        );
        assert_eq!(copied.get("traceparent").unwrap().as_str(), "00-1-2-01");
        assert!(copied.get("Nats-Msg-Id").is_none());
    }

    #[test]
    fn the_oldest_errors_go_first_when_there_are_too_many() {
        let error = |n: usize| McpError::temporary(format!("E{n}")).message("x".repeat(1000));
        let errors: Vec<_> = (0..100).map(error).collect();
        let kept: Vec<McpError> = serde_json::from_str(&errors_json(&errors)).unwrap();
        assert!(kept.len() > 10 && kept.last() == errors.last());
        let huge = [McpError::temporary("HUGE").message("x".repeat(100_000))];
        assert!(errors_json(&huge).contains("HUGE"));
    }
}
