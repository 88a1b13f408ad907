//! Events that a message has caused, or that are of a workflow.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull},
    stream::{LastRawMessageErrorKind, Stream},
};
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Client,
    runtime::{Event, Format},
};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use super::known::{Fact, Known};
use crate::{
    failure::{Failure, chain},
    streams,
};

/// Events that are looked at; of more, the later ones are left out, and it is said.
const MOST: u64 = 200_000;

/// How long the next event may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is waited for before it is asked whether there is a next one.
const GLANCE: Duration = Duration::from_secs(1);

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
        known.troubled(format!(
            "only the first {MOST} events since then were looked at"
        ));
    }
    let mut reached = consumer.cached_info().delivered.stream_sequence;
    let mut heard_at = Instant::now();
    let mut messages = consumer.messages().await.map_err(|error| failed(&error))?;
    while left > 0 {
        match timeout(GLANCE, messages.next()).await {
            Ok(Some(Ok(message))) => {
                let info = message.info().ok();
                reached = info.map_or(reached, |info| info.stream_sequence);
                (left, heard_at) = (left - 1, Instant::now());
                note(&message, id, known);
            }
            // Some may have been removed since they were counted.
            Err(_) if is_the_end(&stream, client, reached).await => break,
            Err(_) if heard_at.elapsed() < PATIENCE => {}
            // What was found until then is not lost for that.
            unread => {
                let reason = match unread {
                    Ok(Some(Err(error))) => chain(&error),
                    _ => "they did not arrive".to_owned(),
                };
                known.troubled(format!("{left} events could not be read: {reason}"));
                break;
            }
        }
    }
    Ok(())
}

/// Whether no event is stored after this sequence.
async fn is_the_end(stream: &Stream, client: &Client, reached: u64) -> bool {
    let events = format!("{}.evt.>", client.namespace());
    match stream.get_last_raw_message_by_subject(&events).await {
        Ok(last) => last.sequence <= reached,
        Err(error) => error.kind() == LastRawMessageErrorKind::NoMessageFound,
    }
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
