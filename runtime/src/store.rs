//! Publishing to a stream until the server says that it is stored.

use std::time::Duration;

use async_nats::{HeaderMap, Request, client::RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::denials::{Denials, Denied};

/// How long one acknowledgement is waited for. A publish in flight when the connection drops is never
/// answered, so this is also how long a reconnection costs it.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before a publish that got no acknowledgement is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A message on its way into a stream.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server answered to a publish that it stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) duplicate: bool,
}

/// The server's codes for a lost compare-and-set, on one server and in a cluster.
pub(crate) const CONFLICTS: [u64; 2] = [10071, 10164];

/// Why a message was not stored.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Larger than a message may be.
    #[error("{size} bytes are over the limit of {limit}")]
    TooLarge {
        /// The message, headers included.
        size: usize,
        /// What the server takes.
        limit: usize,
    },
    /// The server answered, with a refusal.
    #[error("the server refused: {description} (error {code})")]
    Refused {
        /// The server's error code.
        code: u64,
        /// The server's words.
        description: String,
    },
    /// This connection may not use the subject.
    #[error("the server does not let this connection use {subject}")]
    Denied {
        /// What was published to.
        subject: String,
    },
    /// No acknowledgement came in time; the message may be stored.
    #[error("{reason}")]
    Unavailable {
        /// What was seen instead.
        reason: String,
    },
}

impl StoreError {
    /// Whether something else was stored meanwhile than what was expected.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if CONFLICTS.contains(code))
    }
}

/// Either of the two answers; told apart in one pass, since every stored message waits for it.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(rename = "seq", default)]
    sequence: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<Denied> for StoreError {
    fn from(denied: Denied) -> Self {
        Self::Denied {
            subject: denied.subject,
        }
    }
}

/// A connection that publishes, and hears what the server refuses it.
pub(crate) trait Publisher {
    fn nats(&self) -> &async_nats::Client;
    fn denials(&self) -> &Denials;
}

impl<P: Publisher> Publisher for &P {
    fn nats(&self) -> &async_nats::Client {
        (*self).nats()
    }

    fn denials(&self) -> &Denials {
        (*self).denials()
    }
}

/// Publishes until the message is stored, refused, or the deadline has passed.
///
/// Publishing again is safe because every message carries a `Nats-Msg-Id`: what was stored the first
/// time is recognised. Callers keep deadlines well inside the streams' deduplication window.
pub(crate) async fn store(
    publisher: &impl Publisher,
    message: &Outgoing,
    deadline: Instant,
) -> Result<Stored, StoreError> {
    let storing = store_by(publisher.nats(), message, deadline);
    let denials = publisher.denials();
    denials.unless_refused(&message.subject, storing).await?
}

async fn store_by(
    nats: &async_nats::Client,
    message: &Outgoing,
    deadline: Instant,
) -> Result<Stored, StoreError> {
    loop {
        let failure = match timeout_at(deadline, publish_once(nats, message)).await {
            Ok(Ok(stored)) => return Ok(stored),
            Ok(Err(StoreError::Unavailable { reason })) => reason,
            Ok(Err(refused)) => return Err(refused),
            Err(_) => "no acknowledgement in time".to_owned(),
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(StoreError::Unavailable { reason: failure });
        }
        tracing::debug!(
            subject = message.subject,
            failure,
            "publish not acknowledged, sending again"
        );
        sleep(RETRY_PAUSE).await;
    }
}

async fn publish_once(nats: &async_nats::Client, message: &Outgoing) -> Result<Stored, StoreError> {
    let limit = nats.max_payload();
    let request = Request::new()
        .headers(message.headers.clone())
        .payload(message.body.clone())
        .timeout(Some(ACK_TIMEOUT));
    let answer = nats
        .send_request(message.subject.clone(), request)
        .await
        .map_err(|error| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => StoreError::TooLarge {
                size: message.size(),
                limit,
            },
            // What the server says while it restarts, elects a leader or has no such stream.
            RequestErrorKind::NoResponders => {
                unavailable("no stream takes the subject at the moment")
            }
            RequestErrorKind::TimedOut => unavailable("no acknowledgement in time"),
            _ => unavailable(error.to_string()),
        })?;
    read_acknowledgement(&answer.payload)
}

fn read_acknowledgement(payload: &[u8]) -> Result<Stored, StoreError> {
    match serde_json::from_slice(payload) {
        Ok(Acknowledgement {
            error: Some(refusal),
            ..
        }) => Err(StoreError::Refused {
            code: refusal.err_code,
            description: refusal.description,
        }),
        // No stream counts from 0.
        Ok(Acknowledgement {
            sequence: sequence @ 1..,
            duplicate,
            ..
        }) => Ok(Stored {
            sequence,
            duplicate,
        }),
        _ => Err(unavailable("the answer is no publish acknowledgement")),
    }
}

fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
    }
}

impl Outgoing {
    fn size(&self) -> usize {
        let mut size = self.body.len();
        for (name, values) in self.headers.iter() {
            let name: &str = name.as_ref();
            size += values
                .iter()
                .map(|value| name.len() + value.as_str().len() + 4)
                .sum::<usize>();
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_and_refusals_are_told_apart() {
        let stored =
            read_acknowledgement(br#"{"stream":"mcp_commands","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!((stored.sequence, stored.duplicate), (7, true));
        let refused = read_acknowledgement(
            br#"{"error":{"code":503,"err_code":10077,"description":"full"},"seq":0}"#,
        );
        assert!(matches!(
            refused,
            Err(StoreError::Refused { code: 10077, .. })
        ));
        assert!(matches!(
            read_acknowledgement(b"nonsense"),
            Err(StoreError::Unavailable { .. })
        ));
    }
}
