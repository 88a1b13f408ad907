//! Notices of instances that come and go. One that falls silent cannot say so: who sees it publishes it, and the stream's
//! deduplication leaves one, so no leader is needed. That it has come online an instance says itself.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::PresenceRecord;
use crate::{
    client::Client,
    error::PublishError,
    events,
    message::{Event, Name, Raw},
    trace::TraceContext,
};

/// The event that tells of an instance that fell silent.
const INSTANCE_OFFLINE: &str = "instance_offline";

/// The event by which an instance says that it is there, or back.
const INSTANCE_ONLINE: &str = "instance_online";

/// What happened longer ago is not told: the stream recognises a second notice of the same within two minutes only.
pub(super) const OLDEST: Duration = Duration::from_secs(90);

/// Before a notice is published again that was not stored.
const PAUSE: Duration = Duration::from_secs(1);

/// Notices that are published at once: a slow link must not make one wait for another.
const AT_ONCE: usize = 64;

/// Notices that wait behind them; each holds two names. More are left to the other observers.
const WAITING: usize = 16_384;

/// Something that is to be told.
#[derive(Debug)]
pub(super) struct Notice {
    agent: String,
    event: &'static str,
    message_id: String,
    data: Value,
    /// Later it might be stored a second time.
    until: Instant,
}

impl Notice {
    /// That an instance fell silent.
    pub(super) fn offline(agent: &str, instance: &str, revision: u64, until: Instant) -> Self {
        Self {
            agent: agent.to_owned(),
            event: INSTANCE_OFFLINE,
            message_id: format!("offline.{agent}.{instance}.{revision}"),
            data: json!({ "instance": instance, "revision": revision }),
            until,
        }
    }

    /// That the instance of this record is online.
    pub(super) fn online(record: &PresenceRecord, revision: u64) -> Self {
        let (agent, instance) = (&record.agent, &record.instance);
        Self {
            agent: agent.clone(),
            event: INSTANCE_ONLINE,
            message_id: format!("online.{agent}.{instance}.{revision}"),
            data: json!({ "instance": instance, "revision": revision, "version": record.version }),
            until: Instant::now() + OLDEST,
        }
    }

    /// Publishes it until it is stored, refused, or too old.
    pub(super) async fn tell(self, client: Client) {
        let (agent, event, data) = (&self.agent, self.event, &self.data);
        loop {
            let failure = match timeout_at(self.until, self.publish(&client)).await {
                Ok(Ok(())) => return tracing::info!(%agent, event, %data, "told"),
                Ok(Err(error)) => error,
                Err(_) => PublishError::Transport {
                    reason: "it was not stored in time".to_owned(),
                },
            };
            // Whoever else sees it may be allowed to.
            if let PublishError::PermissionDenied { .. } = failure {
                return tracing::debug!(%agent, event, %data, error = %failure, "may not tell");
            }
            let may_pass = matches!(failure, PublishError::Transport { .. });
            if !may_pass || Instant::now() + PAUSE >= self.until {
                return tracing::warn!(%agent, event, %data, error = %failure, "not told");
            }
            sleep(PAUSE).await;
        }
    }

    async fn publish(&self, client: &Client) -> Result<(), PublishError> {
        let invalid = |reason: String| PublishError::Invalid { reason };
        let agent = Name::new(&self.agent).map_err(|error| invalid(error.to_string()))?;
        let event = Name::new(self.event).map_err(|error| invalid(error.to_string()))?;
        let data = Raw::encode(&self.data).map_err(|error| invalid(error.to_string()))?;
        let event = Event::new(agent, event, data);
        events::publish_as(client, &event, &self.message_id, &TraceContext::default()).await
    }
}

/// The way out for notices; nobody waits for them.
pub(super) struct Notices(mpsc::Sender<Notice>);

impl Notices {
    /// Publishes them until told to stop.
    pub(super) fn begin(client: &Client, stop: CancellationToken) -> Self {
        let (told, waiting) = mpsc::channel(WAITING);
        let client = client.clone();
        tokio::spawn(async move {
            let next = |mut waiting: mpsc::Receiver<Notice>| async move {
                waiting.recv().await.map(|notice| (notice, waiting))
            };
            let telling = stream::unfold(waiting, next)
                .for_each_concurrent(AT_ONCE, |notice| notice.tell(client.clone()));
            stop.run_until_cancelled(telling).await;
        });
        Self(told)
    }

    pub(super) fn tell(&self, notice: Notice) {
        if self.0.try_send(notice).is_err() {
            tracing::warn!("too many instances come and go to tell of each");
        }
    }
}
