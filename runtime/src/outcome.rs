//! Outcome records: at most one outcome is stored for an idempotency key, and everyone gets it.
//!
//! The records lie in a JetStream bucket. A reservation carries a time to live, so the server itself frees
//! the key of an instance that died; every decision is a compare-and-set on the record's revision. What is
//! done stays in a cache in front.

mod bucket;
mod flights;

use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

use crate::{
    client::Client,
    message::{Command, EncodeError, McpError, Name, Raw, Reply, Status},
};

pub(crate) use bucket::{COMMAND_ID, Found, OutcomeError, Reservation};
pub(crate) use flights::Boarding;

/// What the cache of done outcomes may hold, and for how long it is worth the memory.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
const CACHE_AGE: Duration = Duration::from_secs(600);

/// How far a key has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeState {
    /// An instance is working on it.
    Reserved,
    /// The response stands.
    Done,
    /// An attempt has failed and the runtime will try again.
    Failing,
}

/// What is stored under an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutcomeRecord {
    /// How far it has come.
    pub state: OutcomeState,
    /// The command that came first.
    pub command_id: String,
    /// SHA-256 over the RFC 8785 canonical JSON of the parameters.
    pub parameters_sha256: String,
    /// The instance that works or worked on it.
    pub owner: String,
    /// The errors of earlier attempts, the oldest first.
    #[serde(default)]
    pub errors: Vec<McpError>,
    /// The reply frame, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Reply>,
    /// The stream sequence of the message that was worked on: tells its redelivery from another message.
    #[serde(default)]
    pub(crate) sequence: u64,
}

/// Where the outcome of a command lies, and what its parameters are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutcomeKey {
    pub(crate) key: String,
    pub(crate) parameters_sha256: String,
}

impl OutcomeKey {
    /// `None` for a command that has neither a key nor the runtime's retries.
    pub(crate) fn of(command: &Command) -> Result<Option<Self>, EncodeError> {
        let text = match (&command.idempotency_key, &command.retry) {
            (Some(key), _) => key,
            (None, Some(_)) => &command.id,
            (None, None) => return Ok(None),
        };
        let parameters_sha256 = parameters_sha256(&command.parameters)?;
        Ok(Some(Self {
            key: record_key(&command.target, &command.action, text),
            parameters_sha256,
        }))
    }
}

/// The key of an outcome record: `<agent>.<action>.<sha256 of the idempotency key>`.
pub(crate) fn record_key(agent: &Name, action: &Name, idempotency_key: &str) -> String {
    format!("{agent}.{action}.{}", hex(&Sha256::digest(idempotency_key)))
}

/// The same parameters have the same hash, in whatever order and format they came.
fn parameters_sha256(parameters: &Raw) -> Result<String, EncodeError> {
    let canonical = serde_json_canonicalizer::to_vec(parameters).map_err(EncodeError::new)?;
    Ok(hex(&Sha256::digest(canonical)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The outcomes as one agent instance sees them.
pub(crate) struct Outcomes {
    bucket: bucket::Bucket,
    flights: flights::Flights,
    done: Cache<String, Arc<OutcomeRecord>>,
}

impl Outcomes {
    pub(crate) fn new(client: &Client) -> Self {
        let weigh = |_: &String, record: &Arc<OutcomeRecord>| {
            let result = record
                .response
                .as_ref()
                .and_then(|response| response.result.as_ref());
            u32::try_from(512 + result.map_or(0, Raw::encoded_len)).unwrap_or(u32::MAX)
        };
        Self {
            bucket: bucket::Bucket::new(client),
            flights: flights::Flights::default(),
            done: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(weigh)
                .time_to_live(CACHE_AGE)
                .build(),
        }
    }

    /// Reads a record without being an agent.
    pub(crate) async fn look(client: &Client, key: &str) -> Result<Found, OutcomeError> {
        bucket::Bucket::new(client).read(key).await
    }

    pub(crate) fn cached(&self, key: &OutcomeKey) -> Option<Arc<OutcomeRecord>> {
        self.done.get(&key.key)
    }

    /// Takes the lead on a key within this process, or learns who has it.
    pub(crate) fn board(&self, key: &OutcomeKey) -> Boarding {
        self.flights.board(&key.key)
    }

    pub(crate) fn bucket(&self) -> &bucket::Bucket {
        &self.bucket
    }

    /// Remembers a success. Errors are not kept here: a redriven dead letter removes them.
    pub(crate) fn remember(&self, key: &OutcomeKey, record: OutcomeRecord) {
        if record
            .response
            .as_ref()
            .is_some_and(|response| response.status == Some(Status::Ok))
        {
            self.done.insert(key.key.clone(), Arc::new(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_compared_by_value_not_by_bytes() {
        let hash = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            parameters_sha256(&Raw::encode(&value).unwrap()).unwrap()
        };
        assert_eq!(
            hash(r#"{"b": 1, "a": [2.0, "x"]}"#),
            hash(r#"{"a":[2,"x"],"b":1}"#)
        );
        assert_ne!(hash(r#"{"a": 1}"#), hash(r#"{"a": "1"}"#));
        // Of the empty map, so that other implementations can compare theirs.
        assert_eq!(
            hash("{}"),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }
}
