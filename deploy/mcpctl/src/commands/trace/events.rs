//! Events that a message has caused, or that are of a workflow.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull},
};
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Client,
    runtime::{Event, Format},
};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::known::{Fact, Known};
use crate::{
    failure::{Failure, chain},
    streams,
};

/// Events that are looked at; of more, the later ones are left out, and it is said.
const MOST: u64 = 200_000;

/// How long the next event may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clocks of senders and server differ; ids tell the time of their senders.
const SLACK_MS: u64 = 60_000;

/// Reads the events since the message was made. Of an id without a time, there is nothing to read: its record was found first.
pub(super) async fn gather(client: &Client, id: &str, known: &mut Known) -> Result<(), Failure> {
    let Some(since) = known.since() else {
        return Ok(());
    };
    let failed = |error: &dyn std::error::Error| {
        Failure::unreachable(format!("the events cannot be read: {}", chain(error)))
    };
    let stream = streams::existing(client.jetstream(), &client.namespace().events_stream()).await?;
    let begin = i128::from(since.saturating_sub(SLACK_MS)) * 1_000_000;
    let begin = OffsetDateTime::from_unix_timestamp_nanos(begin);
    let config = pull::OrderedConfig {
        filter_subject: format!("{}.evt.>", client.namespace()),
        deliver_policy: begin.map_or(DeliverPolicy::All, |start_time| {
            DeliverPolicy::ByStartTime { start_time }
        }),
        ..Default::default()
    };
    let consumer = stream
        .create_consumer(config)
        .await
        .map_err(|error| failed(&error))?;
    let mut left = consumer.cached_info().num_pending.min(MOST);
    if consumer.cached_info().num_pending > MOST {
        known.trouble = Some(format!(
            "only the first {MOST} events since then were looked at"
        ));
    }
    let mut messages = consumer.messages().await.map_err(|error| failed(&error))?;
    while left > 0 {
        let message = match timeout(PATIENCE, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(failed(&error)),
            Ok(None) | Err(_) => return Err(Failure::unreachable("the events did not arrive")),
        };
        left -= 1;
        note(&message, id, known);
    }
    Ok(())
}

fn note(message: &Message, id: &str, known: &mut Known) {
    let header = |name: &str| {
        let headers = message.headers.as_ref()?;
        headers.get(name).map(|value| value.as_str())
    };
    let Some(event) = decoded(message) else {
        return;
    };
    let message_id = header("Nats-Msg-Id").unwrap_or_default();
    // What a workflow publishes is known by it: the ids are derived from it.
    let is_of_workflow = message_id
        .strip_prefix(id)
        .is_some_and(|rest| rest.starts_with('.'));
    let is_caused = event.causation_id.as_deref() == Some(id);
    let is_itself = event.id == id;
    if !(is_of_workflow || is_caused || is_itself) {
        return;
    }
    if is_itself && known.kind.is_none() {
        known.kind = Some("event");
        known.of = Some(format!("{}.{}", event.source, event.name));
        known.conversation.clone_from(&event.conversation_id);
        known.cause.clone_from(&event.causation_id);
    }
    if event.source.as_str() == "workflow" && is_in_record(event.name.as_str()) {
        return;
    }
    known.traced(header("traceparent"));
    let at = message
        .info()
        .ok()
        .map(|info| info.published.unix_timestamp_nanos() / 1_000_000);
    known.facts.push(Fact {
        at: at.and_then(|at| u64::try_from(at).ok()),
        agent: event.source.to_string(),
        instance: None,
        what: format!("event {}", event.name),
        took_ms: None,
        source: "event",
    });
}

/// What the record or the checkpoints tell already, with more to it.
fn is_in_record(event: &str) -> bool {
    !matches!(event, "waiting" | "parked" | "restored")
}

fn decoded(message: &Message) -> Option<Event> {
    let format = Format::of_message(&message.message).ok()?;
    format.decode(&message.payload).ok()
}
