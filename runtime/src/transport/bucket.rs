//! A JetStream bucket: reads, and writes by compare-and-set.

use std::time::Duration;

use async_nats::{
    HeaderMap, Message, StatusCode,
    client::RequestErrorKind,
    jetstream::{ErrorCode, response::Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    client::Client,
    store::{self, CONFLICTS, Outgoing, StoreError},
};

/// How long one access may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pause before a read that nobody answered is repeated.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// What lies under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What a compare-and-set on it expects.
    pub revision: u64,
    /// The value; empty where the key was deleted.
    pub value: Bytes,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Something else lies under the key by now.
    #[error("the entry was changed meanwhile")]
    Conflict(Option<Entry>),
    /// The server does not take it, or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One bucket of the namespace.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    prefix: String,
    stream: String,
    direct_get: String,
}

impl Bucket {
    /// A bucket by its name, such as `mcp_workflows_0`.
    #[must_use]
    pub fn new(client: &Client, name: &str) -> Self {
        Self {
            client: client.clone(),
            prefix: format!("$KV.{name}."),
            stream: format!("KV_{name}"),
            direct_get: format!("$JS.API.DIRECT.GET.KV_{name}.$KV.{name}."),
        }
    }

    /// Reads what lies under a key. On a cluster it may be old: decide by compare-and-set only.
    ///
    /// # Errors
    /// When the server does not answer within 10 s.
    pub async fn read(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let deadline = Instant::now() + TIMEOUT;
        let subject = format!("{}{key}", self.direct_get);
        loop {
            let request = self.client.nats().request(subject.clone(), Bytes::new());
            let denials = self.client.denials();
            let failure = match denials.unless_refused(&subject, request).await? {
                Ok(message) => return entry(&message),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                    "no answer".to_owned()
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(StoreError::Unavailable { reason: failure });
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }

    /// As [`Bucket::read`], but from the leader, who knows of every write; slower.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read_from_leader(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let request = json!({ "last_by_subj": format!("{}{key}", self.prefix) });
        let subject = format!("STREAM.MSG.GET.{}", self.stream);
        let asking = self.client.jetstream().request(subject.clone(), &request);
        let denials = self.client.denials();
        let subject = format!("$JS.API.{subject}");
        let asking = denials.unless_refused(&subject, asking);
        let answer: Result<Response<StoredAnswer>, _> = asking.await?;
        match answer {
            Ok(Response::Ok(stored)) => Ok(Some(stored.entry()?)),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            Ok(Response::Err { error }) => Err(unavailable(error.to_string())),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    /// Writes when `revision` is still what lies under the key; 0 for a key that is not there. Returns the new
    /// revision.
    ///
    /// A write whose acknowledgement was lost is sent again and then conflicts with itself: it counts as done.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] with what lies there now.
    pub async fn write(&self, key: &str, revision: u64, value: Bytes) -> Result<u64, WriteError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        match self.store(key, headers, value.clone()).await {
            Ok(revision) => Ok(revision),
            Err(StoreError::Refused { code, .. }) if CONFLICTS.contains(&code) => {
                match self.read(key).await? {
                    Some(entry) if entry.value == value => Ok(entry.revision),
                    other => Err(WriteError::Conflict(other)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes whatever lies there; once for each `message_id` within the stream's deduplication window.
    ///
    /// # Errors
    /// When the server does not store it.
    pub async fn put(&self, key: &str, message_id: &str, value: Bytes) -> Result<(), StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message_id);
        self.store(key, headers, value).await.map(drop)
    }

    /// Removes a key when `revision` is still what lies under it; returns whether it was. In a bucket with a history the older
    /// values stay.
    ///
    /// # Errors
    /// When the server does not store the deletion.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<bool, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.store_at(key, revision, headers).await
    }

    /// As [`Bucket::delete_at`], with the key's history. Only the bucket of checkpoints allows it.
    ///
    /// # Errors
    /// When the server does not store the purge.
    pub async fn purge_at(&self, key: &str, revision: u64) -> Result<bool, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        headers.insert("Nats-Rollup", "sub");
        self.store_at(key, revision, headers).await
    }

    async fn store_at(
        &self,
        key: &str,
        revision: u64,
        mut headers: HeaderMap,
    ) -> Result<bool, StoreError> {
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        match self.store(key, headers, Bytes::new()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn store(&self, key: &str, headers: HeaderMap, body: Bytes) -> Result<u64, StoreError> {
        let outgoing = Outgoing {
            subject: format!("{}{key}", self.prefix),
            headers,
            body,
        };
        let deadline = Instant::now() + TIMEOUT;
        let stored = store::store(&self.client, &outgoing, deadline).await?;
        Ok(stored.sequence)
    }
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { reason }
}

/// The leader's answer to the question for a message.
#[derive(Deserialize)]
struct StoredAnswer {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    seq: u64,
    #[serde(default)]
    data: String,
}

impl StoredAnswer {
    fn entry(self) -> Result<Entry, StoreError> {
        let value = STANDARD.decode(self.message.data);
        Ok(Entry {
            revision: self.message.seq,
            value: value
                .map_err(|error| unavailable(error.to_string()))?
                .into(),
        })
    }
}

fn entry(message: &Message) -> Result<Option<Entry>, StoreError> {
    if message.status == Some(StatusCode::NOT_FOUND) {
        return Ok(None);
    }
    let sequence = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Sequence"))
        .and_then(|sequence| sequence.as_str().parse().ok());
    match sequence {
        Some(revision) => Ok(Some(Entry {
            revision,
            value: message.payload.clone(),
        })),
        None => Err(StoreError::Unavailable {
            reason: "the answer carries no sequence".to_owned(),
        }),
    }
}
