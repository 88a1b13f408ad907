//! Notices of instances that fell silent: who sees an expiry publishes it, and the stream's deduplication
//! leaves one. So no leader is needed.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::InstanceState;

use crate::{
    client::Client,
    events,
    message::{Event, Load, Name, Raw},
};

/// The event that tells of an instance that fell silent.
const INSTANCE_OFFLINE: &str = "instance_offline";

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

async fn tell(client: &Client, change: &Message) {
    let Some((agent, instance, revision)) = expiry(change) else {
        return;
    };
    let Ok(name) = Name::new(INSTANCE_OFFLINE) else {
        return;
    };
    let Ok(data) = Raw::encode(&Offline { instance, revision }) else {
        return;
    };
    let message_id = format!("offline.{agent}.{instance}.{revision}");
    let event = Event::new(agent.clone(), name, data);
    match events::publish_as(client, &event, &message_id).await {
        Ok(()) => tracing::info!(%agent, instance, "an instance fell silent"),
        Err(error) => tracing::warn!(%error, "the notice of a silent instance was not stored"),
    }
}

/// Agent, instance and the marker's revision, when the change is an expiry.
fn expiry(change: &Message) -> Option<(Name, &str, u64)> {
    let header = |name: &str| {
        change
            .headers
            .as_ref()
            .and_then(|headers: &HeaderMap| headers.get(name))
    };
    if header("Nats-Marker-Reason")?.as_str() != "MaxAge" {
        return None;
    }
    let revision = header("Nats-Sequence")?.as_str().parse().ok()?;
    let mut tokens = change.subject.rsplit('.');
    let instance = tokens.next()?;
    let agent = Name::new(tokens.next()?).ok()?;
    Some((agent, instance, revision))
}
