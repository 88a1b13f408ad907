//! What lies of a command: in the queue, among those that come later, outcomes, and dead letters.

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use mcp_agent_sdk::{
    Client, McpError,
    runtime::{
        Format, OutcomeRecord, OutcomeState,
        persistence::{
            JetStreamPersistence, MessagePersistence, MessageQuery, MessageState, Reference,
            StoredMessage,
        },
    },
};
use serde_json::Value;

use super::known::{Fact, Known};
use crate::{body, commands::messages, failure::Failure};

/// Copies of one message: more than one attempt waits nowhere, but a redriven letter dies again.
const MOST_COPIES: usize = 100;

pub(super) async fn gather(client: &Client, id: &str, known: &mut Known) -> Result<(), Failure> {
    let store = JetStreamPersistence::new(client);
    let page = store
        .query(MessageQuery::new().id(id).limit(MOST_COPIES))
        .await?;
    for message in &page.messages {
        known.kind = Some("command");
        known.of = Some(format!("{}.{}", message.agent, message.action));
        known.state = Some(message.state.to_string());
        let raw = messages::raw(client, &message.reference).await?;
        let Some(raw) = raw else {
            // Acknowledged meanwhile: how it was is all that is known.
            known.facts.push(waiting(message, ""));
            continue;
        };
        known.traced(header(&raw.headers, "traceparent"));
        let body = body::body(&raw.headers, &raw.payload);
        known.related(&body);
        let sender = body["source"].as_str().unwrap_or_default();
        match message.reference {
            Reference::Outcome { .. } => known.facts.push(outcome(message, &raw)),
            Reference::DeadLetter { sequence } => {
                known.facts.push(dead(message, &raw, sequence));
            }
            _ => {
                known.facts.push(waiting(message, sender));
                known.facts.extend(under_way(client, message, &body).await?);
            }
        }
        if !sender.is_empty() {
            known.sent_by(sender);
        }
    }
    Ok(())
}

impl Known {
    fn related(&mut self, body: &Value) {
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        self.conversation = self.conversation.take().or_else(|| text("conversation_id"));
        self.cause = self.cause.take().or_else(|| text("causation_id"));
    }

    /// The first that is known of a message is that somebody made it.
    fn sent_by(&mut self, sender: &str) {
        let is_known = self.facts.iter().any(|fact| fact.source == "id");
        if let Some(at) = self.made_at().filter(|_| !is_known) {
            let made = Fact {
                at: Some(at),
                agent: sender.to_owned(),
                instance: None,
                what: "made it".to_owned(),
                took_ms: None,
                source: "id",
            };
            // Before what is stored in the same millisecond.
            self.facts.insert(0, made);
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}

fn fact(message: &StoredMessage, what: String, source: &'static str) -> Fact {
    Fact {
        at: u64::try_from(message.stored_at_ms).ok(),
        agent: message.agent.clone(),
        instance: None,
        what,
        took_ms: None,
        source,
    }
}

fn waiting(message: &StoredMessage, sender: &str) -> Fact {
    let lane = message.lane.map_or("", |lane| lane.as_str());
    let attempt = match message.attempts {
        0 | 1 => String::new(),
        attempts => format!(", attempt {attempts}"),
    };
    let (what, source) = match (&message.reference, message.state) {
        (Reference::Delayed { .. }, _) => ("to be delivered later", "delayed"),
        (_, MessageState::InFlight) => ("stored, and delivered", "queue"),
        _ => ("stored, waits", "queue"),
    };
    let fact = fact(message, format!("{what}: lane {lane}{attempt}"), source);
    Fact {
        agent: sender.to_owned(),
        ..fact
    }
}

/// Who works on it, and what has failed so far: the record of a command with a key, or with the runtime's retries.
async fn under_way(
    client: &Client,
    message: &StoredMessage,
    body: &Value,
) -> Result<Vec<Fact>, Failure> {
    let key = body["idempotency_key"].as_str().unwrap_or(&message.id);
    let record = client.outcome(&message.agent, &message.action, key).await?;
    let Some(record) = record else {
        return Ok(Vec::new());
    };
    let mut facts = Vec::new();
    if !record.errors.is_empty() {
        let what = format!("failed so far: {}", codes(&record.errors));
        facts.push(Fact {
            at: None,
            ..fact(message, what, "outcome")
        });
    }
    if record.state == OutcomeState::Reserved {
        facts.push(Fact {
            at: None,
            instance: Some(record.owner),
            ..fact(message, "works on it now".to_owned(), "outcome")
        });
    }
    Ok(facts)
}

fn outcome(message: &StoredMessage, raw: &StreamMessage) -> Fact {
    let record: Option<OutcomeRecord> = Format::Msgpack.decode(&raw.payload).ok();
    let response = record.as_ref().and_then(|record| record.response.as_ref());
    let error = response.and_then(|response| response.error.as_ref());
    let mut what = match error {
        Some(error) => format!("ended with {}", error.code),
        None => "done".to_owned(),
    };
    if message.attempts > 1 {
        what += &format!(", attempt {}", message.attempts);
    }
    let mut before = record.as_ref().map_or(&[][..], |record| &record.errors);
    // The runtime keeps the final error among those of the attempts, too.
    if let (Some(_), [earlier @ .., _]) = (error, before) {
        before = earlier;
    }
    if !before.is_empty() {
        what += &format!(", after {}", codes(before));
    }
    Fact {
        instance: record.as_ref().map(|record| record.owner.clone()),
        took_ms: response.and_then(|response| response.processing_ms),
        ..fact(message, what, "outcome")
    }
}

fn dead(message: &StoredMessage, raw: &StreamMessage, sequence: u64) -> Fact {
    let reason = header(&raw.headers, "Mcp-Dead-Reason").unwrap_or("for no reason told");
    let errors = header(&raw.headers, "Mcp-Errors").unwrap_or_default();
    let errors: Vec<McpError> = serde_json::from_str(errors).unwrap_or_default();
    let attempts = match message.attempts {
        1 => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    let mut what = format!("dead letter {sequence}: {reason} after {attempts}");
    if errors.len() > 1 {
        what += &format!(" ({})", codes(&errors));
    }
    fact(message, what, "dead letter")
}

fn codes(errors: &[McpError]) -> String {
    let codes: Vec<&str> = errors.iter().map(|error| error.code.as_str()).collect();
    codes.join(", ")
}
