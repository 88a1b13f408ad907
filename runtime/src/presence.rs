//! This instance's presence record: who it is, what it can do, how busy it is.
//!
//! The server itself expires a silent instance, through the record's time to live. The first record also
//! tells how far the server's clock is from ours.

mod notices;

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    client::Client,
    clock::unix_ms,
    error::ReceiveError,
    message::{Load, Name, Token},
    receive::{LoadMeter, WorkerConfig},
    store::{self, Outgoing, StoreError},
    targets::BreakerStatus,
};

pub(crate) use notices::watch;

/// How long the first record may take to be stored and to come back.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(10);

/// A record lives for this many intervals: two may be lost before the instance counts as gone.
const LIFETIME_INTERVALS: u32 = 3;

/// Changes of breakers within this time are told by one record.
const GATHERED: Duration = Duration::from_millis(200);

/// What an instance is doing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    pub definitions: Vec<serde_json::Value>,
    /// How busy it is.
    #[serde(default)]
    pub load: Load,
    /// Its circuit breakers, at most 64: those that are not closed, and those with calls in their window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerStatus>,
}

/// Writes the record until told to leave.
pub(crate) struct Presence {
    client: Client,
    key_subject: String,
    state: watch::Sender<InstanceState>,
    heart: JoinHandle<()>,
}

struct Heart {
    client: Client,
    key_subject: String,
    interval: Duration,
    load: Arc<LoadMeter>,
    record: PresenceRecord,
}

impl Presence {
    /// Writes the first record and begins to repeat it.
    pub(crate) async fn announce(
        client: &Client,
        config: &WorkerConfig,
        actions: Vec<String>,
        load: Arc<LoadMeter>,
    ) -> Result<Self, ReceiveError> {
        let failed = |reason: String| ReceiveError::Presence { reason };
        let namespace = client.namespace();
        let key_subject = format!(
            "$KV.{}.{}.{}",
            namespace.agents_bucket(),
            config.agent,
            config.instance
        );
        let echo_subject = format!("{namespace}.presence.{}.{}", config.agent, config.instance);
        let mut heart = Heart {
            client: client.clone(),
            key_subject: key_subject.clone(),
            interval: config.heartbeat_interval,
            load,
            record: PresenceRecord {
                agent: config.agent.to_string(),
                instance: config.instance.to_string(),
                version: config.version.clone(),
                state: InstanceState::Starting,
                started_at: unix_ms(),
                seq: 0,
                actions: actions
                    .into_iter()
                    .map(|name| ActionInfo { name })
                    .collect(),
                definitions: config.definitions.clone(),
                load: Load::default(),
                breakers: Vec::new(),
            },
        };
        let mut echoes = client
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
        let heart = tokio::spawn(heart.run(changes));
        Ok(Self {
            client: client.clone(),
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
    pub(crate) async fn leave(&self) {
        self.heart.abort();
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
        if let Err(error) = store::store(self.client.nats(), &purge, deadline).await {
            tracing::warn!(%error, "the presence record could not be removed, it will expire");
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl Heart {
    async fn run(mut self, mut changes: watch::Receiver<InstanceState>) {
        let mut connections = self.client.connections();
        let mut breakers = self.client.targets().breaker_changes();
        loop {
            let pause = self.interval.mul_f64(rand::rng().random_range(0.9..=1.1));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = connections.changed() => self.restore().await,
                Ok(()) = breakers.changed() => tokio::time::sleep(GATHERED).await,
                changed = changes.changed() => if changed.is_err() { return },
            }
            breakers.mark_unchanged();
            self.record.state = *changes.borrow_and_update();
            if let Err(error) = self.beat(self.interval).await {
                tracing::warn!(%error, "the presence record could not be written");
                self.restore().await;
            }
        }
    }

    /// A restarted server may have lost the bucket, which lies in its memory.
    async fn restore(&self) {
        if let Err(error) = self.client.restore_topology().await {
            tracing::warn!(%error, "the streams and buckets could not be checked");
        }
    }

    async fn beat(&mut self, within: Duration) -> Result<(), StoreError> {
        self.record.seq += 1;
        self.record.load = self.load.load();
        self.record.breakers = self.client.targets().breakers_to_publish();
        let full = self.record.load.in_flight >= self.record.load.capacity;
        let mut record = self.record.clone();
        if record.state == InstanceState::Ready && full {
            record.state = InstanceState::Busy;
        }
        let body = serde_json::to_vec(&record).expect("a presence record has string keys only");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", ttl_seconds(self.interval * LIFETIME_INTERVALS));
        let outgoing = Outgoing {
            subject: self.key_subject.clone(),
            headers,
            body: body.into(),
        };
        store::store(self.client.nats(), &outgoing, Instant::now() + within)
            .await
            .map(drop)
    }
}

/// Whether another instance of an agent is alive. When that cannot be learnt, no.
pub(crate) async fn others_alive(client: &Client, agent: &Name, instance: &Token) -> bool {
    let bucket = client.namespace().agents_bucket();
    let own = format!("$KV.{bucket}.{agent}.{instance}");
    let request = serde_json::json!({ "subjects_filter": format!("$KV.{bucket}.{agent}.*") });
    let answer: Result<serde_json::Value, _> = client
        .jetstream()
        .request(format!("STREAM.INFO.KV_{bucket}"), &request)
        .await;
    let subjects = answer
        .ok()
        .and_then(|info| info["state"]["subjects"].as_object().cloned());
    let others = subjects
        .into_iter()
        .flatten()
        .map(|(subject, _)| subject)
        .filter(|subject| *subject != own);
    for subject in others {
        // The trace of an instance that has left stays for a while, without a body.
        let record = client
            .nats()
            .request(
                format!("$JS.API.DIRECT.GET.KV_{bucket}.{subject}"),
                Default::default(),
            )
            .await;
        if record.is_ok_and(|record| !record.payload.is_empty()) {
            return true;
        }
    }
    false
}

/// The server counts lifetimes in whole seconds.
fn ttl_seconds(lifetime: Duration) -> String {
    format!("{}s", lifetime.as_millis().div_ceil(1000).max(1))
}

/// When the server stored what it republishes, in Unix milliseconds.
fn server_time_ms(headers: Option<&HeaderMap>) -> Option<i64> {
    let stamp = headers?.get("Nats-Time-Stamp")?.as_str();
    let time =
        time::OffsetDateTime::parse(stamp, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}
