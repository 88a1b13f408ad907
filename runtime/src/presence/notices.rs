//! Notices of instances that come and go. One that falls silent cannot say so: who sees its record expire publishes it, and the
//! stream's deduplication leaves one, so no leader is needed. That it has come online an instance says itself.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{InstanceChange, InstanceState, PresenceChange, PresenceRecord, server_time_ms};

use crate::{
    client::Client,
    error::PublishError,
    events,
    message::{Event, Load, Name, Raw},
    trace::TraceContext,
};

/// The event that tells of an instance that fell silent.
const INSTANCE_OFFLINE: &str = "instance_offline";

/// The event by which an instance says that it is there, or back.
const INSTANCE_ONLINE: &str = "instance_online";

/// An expiry that is older is not told: the stream recognises a second notice of the same within two minutes only.
const OLDEST_NOTICE: Duration = Duration::from_secs(90);

/// Of a presence record, what tells of the load.
#[derive(Deserialize)]
struct Loaded {
    state: InstanceState,
    load: Load,
}

#[derive(Serialize)]
struct Offline<'a> {
    instance: &'a str,
    revision: u64,
}

/// Publishes what expires, until told to stop.
pub(crate) async fn watch(
    client: Client,
    mut changes: Subscriber,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut connections = client.connections();
    let mut believe_from = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            reconnected = note(&mut connections) => if reconnected {
                // A restarted server has forgotten everyone; those who live will have told it by then.
                believe_from = Instant::now() + interval;
            },
            change = changes.next() => match change {
                Some(change) => {
                    heed_load(&client, &change);
                    if Instant::now() >= believe_from {
                        tell(&client, &change).await;
                    }
                }
                None => return,
            },
        }
    }
}

async fn note(connections: &mut watch::Receiver<u64>) -> bool {
    match connections.changed().await {
        Ok(()) => true,
        // The connection is closed for good; the subscription ends with it.
        Err(_) => std::future::pending().await,
    }
}

/// Lets the limiter know how busy an agent says it is, if anything is sent to it from here.
fn heed_load(client: &Client, change: &Message) {
    let agent = change.subject.rsplit('.').nth(1);
    let Some(agent) = agent.and_then(|agent| Name::new(agent).ok()) else {
        return;
    };
    // Read only where it is of interest: in a large system nearly no record is.
    client.targets().observe_load(&agent, || {
        let record: Loaded = serde_json::from_slice(&change.payload).ok()?;
        (record.state != InstanceState::Draining).then_some(record.load)
    });
}

async fn tell(client: &Client, message: &Message) {
    let written = server_time_ms(message.headers.as_ref());
    if written.is_some_and(|written| client.clock().age(written) > OLDEST_NOTICE) {
        return;
    }
    if let Some(change) = PresenceChange::read(message) {
        tell_offline(client, &change).await;
    }
}

/// Publishes that an instance fell silent, if that is what the change is. Whoever else has seen it publishes the same, and
/// the stream keeps one.
pub async fn tell_offline(client: &Client, change: &PresenceChange) {
    let InstanceChange::Silent = change.change else {
        return;
    };
    let (agent, instance, revision) = (&change.agent, &change.instance, change.revision);
    let message_id = format!("offline.{agent}.{instance}.{revision}");
    let data = Offline { instance, revision };
    match publish(client, agent, INSTANCE_OFFLINE, &message_id, &data).await {
        Ok(()) => tracing::info!(%agent, instance, "an instance fell silent"),
        Err(error) => tracing::warn!(%error, "the notice of a silent instance was not stored"),
    }
}

/// What an instance says when it has come online.
#[derive(Debug, Serialize)]
pub(super) struct Online {
    #[serde(skip)]
    agent: String,
    instance: String,
    revision: u64,
    version: String,
}

impl Online {
    pub(super) fn of(record: &PresenceRecord, revision: u64) -> Self {
        Self {
            agent: record.agent.clone(),
            instance: record.instance.clone(),
            revision,
            version: record.version.clone(),
        }
    }
}

/// Publishes that this instance is online. A notice and no more: one that cannot be stored is logged.
pub(super) async fn tell_online(client: Client, notice: Online) {
    let message_id = format!(
        "online.{}.{}.{}",
        notice.agent, notice.instance, notice.revision
    );
    let told = publish(
        &client,
        &notice.agent,
        INSTANCE_ONLINE,
        &message_id,
        &notice,
    );
    if let Err(error) = told.await {
        tracing::debug!(%error, "the notice of being online was not stored");
    }
}

async fn publish(
    client: &Client,
    agent: &str,
    event: &str,
    message_id: &str,
    data: &impl Serialize,
) -> Result<(), PublishError> {
    let invalid = |reason: String| PublishError::Invalid { reason };
    let agent = Name::new(agent).map_err(|error| invalid(error.to_string()))?;
    let event = Name::new(event).map_err(|error| invalid(error.to_string()))?;
    let data = Raw::encode(data).map_err(|error| invalid(error.to_string()))?;
    let event = Event::new(agent, event, data);
    events::publish_as(client, &event, message_id, &TraceContext::default()).await
}
