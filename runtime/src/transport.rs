//! The building blocks of services that stand beside agents, such as the workflow engine: pulling with leases,
//! publishing until stored, compare-and-set on a bucket, answering, burying.
//!
//! Authors of agents need none of it. What all of these share: a message that the server has not
//! acknowledged counts as not stored, and publishing it again is safe because it carries a message id
//! or an expected revision.

mod alive;
mod answers;
mod bucket;
mod scan;

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    client::Client,
    dead_letter::{Autopsy, DeadLetter},
    error::PublishError,
    events,
    message::{Answerer, Event, Format, McpError, Name, Raw, Reply, code},
    payload, provenance,
    store::{self, Outgoing},
    trace::TraceContext,
};

pub use crate::failpoint::failpoint;
pub use crate::{
    message::new_message_id,
    receive::{Consumption, Delivered, DeliveryInfo, Lease},
    store::StoreError,
};
pub use alive::instances;
pub use answers::{ExpectedAnswer, expect_answer};
pub use bucket::{Bucket, Entry, WriteError};
pub use scan::{scan, scan_from};

pub(crate) use scan::scan_with_headers;

pub use crate::presence::{
    Found, InstanceChange, InstanceKey, Observed, Overdue, PresenceChange, PresenceChanges, Roll,
    read_presence, tell_who_falls_silent,
};

/// Publishes into a stream, again and again within the time given, until the server says that it is stored. The
/// headers must make publishing again safe: by `Nats-Msg-Id`, or by an expected sequence.
///
/// Returns whether the server knew the message already.
///
/// # Errors
/// When the server refuses it, or does not answer in time.
pub async fn publish(
    client: &Client,
    subject: String,
    headers: HeaderMap,
    body: Bytes,
    within: Duration,
) -> Result<bool, StoreError> {
    let outgoing = Outgoing {
        subject,
        headers,
        body,
    };
    let stored = store::store(client, &outgoing, Instant::now() + within).await?;
    Ok(stored.duplicate)
}

/// Why a message does not come from somebody who may publish on its subject; `schedules` is the prefix of the only schedules
/// whose target the subject may be.
#[must_use]
pub fn borrowed(message: &Message, schedules: &str) -> Option<&'static str> {
    provenance::borrowed(message, schedules)
}

/// Waits for an answer, or for the server to refuse the question, which was published to `subject`.
///
/// # Errors
/// [`StoreError::Denied`] when it is refused.
pub async fn unless_refused<T>(
    client: &Client,
    subject: &str,
    asking: impl Future<Output = T>,
) -> Result<T, StoreError> {
    Ok(client.denials().unless_refused(subject, asking).await?)
}

/// Waits until the server refuses a question to JetStream of this connection, other than a pull; listens from the call on, not
/// from the first poll.
pub fn refused_question(client: &Client) -> impl Future<Output = StoreError> + Send + 'static {
    let refusals = client.denials().listen();
    async move { refusals.refused_question().await.into() }
}

/// Publishes an event under a message id that whoever publishes the same event uses too.
///
/// # Errors
/// When the server does not store it.
pub async fn publish_event(
    client: &Client,
    event: &Event,
    message_id: &str,
    trace: &TraceContext,
) -> Result<(), PublishError> {
    events::publish_as(client, event, message_id, trace).await
}

/// Unix milliseconds by the server's clock, as far as this process knows it.
#[must_use]
pub fn server_now_ms(client: &Client) -> u64 {
    u64::try_from(client.clock().now_ms()).unwrap_or_default()
}

/// Who answers a request, and where to.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The subject of the reply frame; nothing is sent where the protocol does not allow it.
    pub reply_to: String,
    /// The id of the message that is answered.
    pub request_id: String,
    /// The name under which it is answered.
    pub source: Name,
    /// The instance that answers.
    pub instance: String,
    /// The encoding: that of the request.
    pub format: Format,
}

/// Sends one response frame. Nobody may be waiting, so it cannot fail; what cannot be sent is logged.
pub async fn answer(client: &Client, to: Answering, outcome: Result<Raw, McpError>) {
    if !client.namespace().allows_reply_to(&to.reply_to) {
        tracing::warn!("an answer is not sent: its subject is not a reply subject");
        return;
    }
    let answerer = Answerer {
        command_id: to.request_id,
        attempt: 1,
        source: to.source,
        instance: to.instance,
    };
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", to.format.content_type());
    let body = match encoded(client, to.format, answerer.response(outcome), &mut headers).await {
        Ok(body) => body,
        Err(error) => match to.format.encode(&answerer.response(Err(error))) {
            Ok(body) => body,
            Err(_) => return,
        },
    };
    let sending = client
        .nats()
        .publish_with_headers(to.reply_to, headers, body);
    if let Err(error) = sending.await {
        tracing::warn!(%error, "an answer could not be sent");
    }
}

async fn encoded(
    client: &Client,
    format: Format,
    frame: Reply,
    headers: &mut HeaderMap,
) -> Result<Bytes, McpError> {
    let body = format
        .encode(&frame)
        .map_err(|error| McpError::permanent(code::INTERNAL).message(error.to_string()))?;
    payload::check_in(client, &frame.id, body, headers)
        .await
        .map_err(|error| error.to_mcp_error())
}

/// Keeps a copy of a message that was acknowledged before it turned out that it cannot be handled. `message_id` must be
/// derived from it: storing it twice then does no harm.
///
/// # Errors
/// When the server does not store it.
pub async fn bury_copy(
    client: &Client,
    subject: &str,
    body: Bytes,
    message_id: &str,
    (agent, name): (&Name, &Name),
    error: McpError,
) -> Result<(), StoreError> {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", Format::Msgpack.content_type());
    let message = Message {
        subject: subject.into(),
        reply: None,
        length: body.len(),
        payload: body,
        headers: Some(headers),
        status: None,
        description: None,
    };
    let autopsy = Autopsy {
        reason: error.code.clone(),
        attempts: 1,
        errors: vec![error],
    };
    DeadLetter::of(&message, &DeliveryInfo::realtime(), &autopsy)
        .under(client, agent, name.as_str())
        .known_as(message_id)
        .store(client)
        .await
}

/// Keeps a message that cannot be handled among the dead letters, byte for byte, as `name` of `agent`.
///
/// # Errors
/// When the server does not store it; then the message must be left to redelivery.
pub async fn bury(
    client: &Client,
    message: &Message,
    info: &DeliveryInfo,
    (agent, name): (&Name, &Name),
    error: McpError,
) -> Result<(), StoreError> {
    let autopsy = Autopsy {
        reason: error.code.clone(),
        attempts: 1,
        errors: vec![error],
    };
    DeadLetter::of(message, info, &autopsy)
        .under(client, agent, name.as_str())
        .store(client)
        .await
}
