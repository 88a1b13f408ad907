//! This instance's presence record: who it is, what it can do, how busy it is.
//!
//! The server itself expires a silent instance, through the record's time to live. The first record also
//! tells how far the server's clock is from ours. Writing goes over the lifeline, which handlers cannot hold up.

mod change;
mod heart;
mod lifeline;
mod notices;
mod observer;
mod read;
mod roll;

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    client::Client,
    clock::unix_ms,
    error::ReceiveError,
    message::Load,
    receive::{LoadMeter, WorkerConfig},
    store::{self, Outgoing},
    targets::BreakerStatus,
};

use heart::Heart;

pub(crate) use change::server_time_ms;
pub(crate) use lifeline::{Lifeline, Lifelines};
pub(crate) use observer::observe;
pub(crate) use read::{is_anyone_alive, others_alive};

pub use change::{InstanceChange, Observed, PresenceChange, PresenceChanges};
pub use observer::tell_who_falls_silent;
pub use read::{Found, read_presence};
pub use roll::{InstanceKey, Overdue, Roll};

/// How long the first record may take to be stored and to come back.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(10);

/// A record lives for this many intervals: two may be lost before the instance counts as gone.
const LIFETIME_INTERVALS: u32 = 3;

/// What an instance is doing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Not yet pulling.
    Starting,
    /// With room for more.
    Ready,
    /// Full.
    Busy,
    /// Finishing what it has.
    Draining,
}

/// One action in a presence record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActionInfo {
    /// The action's name.
    pub name: String,
    /// The JSON Schema of its parameters, where the agent tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<Value>,
    /// The JSON Schema of its result, where the agent tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_schema: Option<Value>,
}

impl ActionInfo {
    /// An action of which only the name is told.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parameters_schema: None,
            result_schema: None,
        }
    }
}

/// The presence record of one instance, as it lies in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PresenceRecord {
    /// The agent.
    pub agent: String,
    /// The instance.
    pub instance: String,
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// What it is doing.
    pub state: InstanceState,
    /// Unix milliseconds, by the instance's clock.
    #[serde(default)]
    pub started_at: u64,
    /// Counts the records of this instance.
    #[serde(default)]
    pub seq: u64,
    /// What it can be asked for.
    #[serde(default)]
    pub actions: Vec<ActionInfo>,
    /// The workflow definitions that it runs.
    #[serde(default)]
    pub definitions: Vec<Value>,
    /// How busy it is.
    #[serde(default)]
    pub load: Load,
    /// Its circuit breakers, at most 64: those that are not closed, and those with calls in their window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerStatus>,
}

/// Writes the record until told to leave.
pub(crate) struct Presence {
    lifeline: Arc<Lifeline>,
    key_subject: String,
    state: watch::Sender<InstanceState>,
    heart: JoinHandle<()>,
}

impl Presence {
    /// Writes the first record and begins to repeat it.
    pub(crate) async fn announce(
        client: &Client,
        config: &WorkerConfig,
        actions: Vec<ActionInfo>,
        load: Arc<LoadMeter>,
        lifeline: Arc<Lifeline>,
    ) -> Result<Self, ReceiveError> {
        let failed = |reason: String| ReceiveError::Presence { reason };
        let namespace = client.namespace();
        let bucket = namespace.agents_bucket();
        let key_subject = format!("$KV.{bucket}.{}.{}", config.agent, config.instance);
        let echo_subject = format!("{namespace}.presence.{}.{}", config.agent, config.instance);
        let record = PresenceRecord {
            agent: config.agent.to_string(),
            instance: config.instance.to_string(),
            version: config.version.clone(),
            state: InstanceState::Starting,
            started_at: unix_ms(),
            seq: 0,
            actions,
            definitions: config.definitions.clone(),
            load: Load::default(),
            breakers: Vec::new(),
        };
        let mut heart = Heart::new(
            client.clone(),
            Arc::clone(&lifeline),
            key_subject.clone(),
            config.heartbeat_interval,
            load,
            record,
        );
        // Over the connection that writes: the server must know of the subscription by then.
        let mut echoes = lifeline
            .nats()
            .subscribe(echo_subject)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let sent = std::time::Instant::now();
        heart
            .beat(ANNOUNCE_TIMEOUT)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let echo = tokio::time::timeout(ANNOUNCE_TIMEOUT, echoes.next()).await;
        match echo
            .ok()
            .flatten()
            .and_then(|echo| server_time_ms(echo.headers.as_ref()))
        {
            Some(server_ms) => client.clock().observe(server_ms, sent),
            None => tracing::warn!(
                "the server does not republish presence; its clock is taken to be ours"
            ),
        }
        let (state, changes) = watch::channel(InstanceState::Starting);
        let heart = lifeline.spawn(heart.run(changes));
        Ok(Self {
            lifeline,
            key_subject,
            state,
            heart,
        })
    }

    pub(crate) fn ready(&self) {
        self.state.send_replace(InstanceState::Ready);
    }

    pub(crate) fn draining(&self) {
        self.state.send_replace(InstanceState::Draining);
    }

    /// Removes the record. A purge, because the marker of a plain delete would later look like an expiry.
    pub(crate) async fn leave(&mut self) {
        self.heart.abort();
        // Until it has ended it may write a record after the purge.
        let _ = (&mut self.heart).await;
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        headers.insert("Nats-TTL", "30s");
        let purge = Outgoing {
            subject: self.key_subject.clone(),
            headers,
            body: Default::default(),
        };
        let deadline = Instant::now() + Duration::from_secs(2);
        if let Err(error) = store::store(&*self.lifeline, &purge, deadline).await {
            tracing::warn!(%error, "the presence record could not be removed, it will expire");
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.heart.abort();
    }
}
