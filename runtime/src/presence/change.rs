//! What the server republishes of the presence bucket, read.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::{client::Client, store::StoreError};

use super::{PresenceRecord, roll::InstanceKey};

/// One change of the presence of one instance.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PresenceChange {
    /// The agent.
    pub agent: String,
    /// The instance.
    pub instance: String,
    /// The bucket's revision: of two changes the one with the higher is the later.
    pub revision: u64,
    /// When the server stored that, in Unix milliseconds by its clock.
    pub stored_at_ms: Option<i64>,
    /// What has happened.
    pub change: InstanceChange,
}

/// What has happened to an instance.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InstanceChange {
    /// It has written its record, which lives for so long.
    Alive(Box<PresenceRecord>, Duration),
    /// It has taken leave.
    Left,
    /// It has written nothing for the lifetime of its record.
    Silent,
}

/// What a record without a lifetime is taken to have: that of the default interval.
const LIFETIME: Duration = Duration::from_secs(15);

impl PresenceChange {
    /// Reads a message of the subjects `mcp.presence.>`; `None` for anything else.
    #[must_use]
    pub fn read(message: &Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        Self::of(&message.subject, headers, &message.payload)
    }

    /// Reads what lies or lay under a subject that ends in agent and instance.
    pub(super) fn of(subject: &str, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let header = |name: &str| headers.get(name).map(|value| value.as_str());
        let mut tokens = subject.rsplit('.');
        let (instance, agent) = (tokens.next()?.to_owned(), tokens.next()?.to_owned());
        let change = match (header("Nats-Marker-Reason"), header("KV-Operation")) {
            (Some("MaxAge"), _) => InstanceChange::Silent,
            (Some(_), _) | (None, Some(_)) => InstanceChange::Left,
            (None, None) => {
                let record: PresenceRecord = serde_json::from_slice(body).ok()?;
                if record.agent != agent || record.instance != instance {
                    return None;
                }
                let lifetime = header("Nats-TTL").and_then(lifetime);
                InstanceChange::Alive(Box::new(record), lifetime.unwrap_or(LIFETIME))
            }
        };
        Some(Self {
            agent,
            instance,
            revision: header("Nats-Sequence")?.parse().ok()?,
            stored_at_ms: server_time_ms(Some(headers)),
            change,
        })
    }

    /// Agent and instance.
    pub(super) fn key(&self) -> InstanceKey {
        (self.agent.clone(), self.instance.clone())
    }
}

fn lifetime(ttl: &str) -> Option<Duration> {
    let seconds = ttl.strip_suffix('s').unwrap_or(ttl);
    seconds.parse().ok().map(Duration::from_secs)
}

/// The changes of all instances as the server tells them.
pub struct PresenceChanges {
    messages: Subscriber,
    connections: watch::Receiver<u64>,
}

/// What an observer of presence sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Observed {
    /// An instance has changed.
    Change(PresenceChange),
    /// The connection was lost and is back: changes may have been missed, and a restarted server has forgotten everyone.
    Reconnected,
}

impl PresenceChanges {
    /// Listens from now on. Whoever reads the bucket afterwards over the same client misses nothing.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn listen(client: &Client) -> Result<Self, StoreError> {
        let connections = client.connections();
        let subject = format!("{}.presence.>", client.namespace());
        let messages = client.nats().subscribe(subject).await;
        let messages = messages.map_err(|error| StoreError::Unavailable {
            reason: error.to_string(),
        })?;
        Ok(Self {
            messages,
            connections,
        })
    }

    /// What happens next; `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<Observed> {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.connections.changed() => return Some(Observed::Reconnected),
                message = self.messages.next() => {
                    if let Some(change) = PresenceChange::read(&message?) {
                        return Some(Observed::Change(change));
                    }
                }
            }
        }
    }
}

/// When the server stored what it republishes, in Unix milliseconds.
pub(crate) fn server_time_ms(headers: Option<&HeaderMap>) -> Option<i64> {
    let stamp = headers?.get("Nats-Time-Stamp")?.as_str();
    let time =
        time::OffsetDateTime::parse(stamp, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_falling_silent_and_living_are_told_apart() {
        let read = |headers: &[(&str, &str)], body: &str| {
            let mut map = HeaderMap::new();
            map.insert("Nats-Sequence", "7");
            for (name, value) in headers {
                map.insert(*name, *value);
            }
            PresenceChange::of("mcp.presence.writer.w1", &map, body.as_bytes())
        };
        let record = r#"{"agent":"writer","instance":"w1","state":"ready"}"#;
        let alive = read(&[("Nats-TTL", "3s")], record).unwrap();
        assert!(
            matches!(&alive.change, InstanceChange::Alive(record, lifetime)
            if record.instance == "w1" && lifetime.as_secs() == 3)
        );
        let left = read(&[("KV-Operation", "PURGE")], "").unwrap();
        assert!(matches!(left.change, InstanceChange::Left));
        let silent = read(&[("Nats-Marker-Reason", "MaxAge")], "").unwrap();
        assert!(matches!(silent.change, InstanceChange::Silent));
        assert_eq!((silent.agent.as_str(), silent.revision), ("writer", 7));
        assert!(
            read(&[], r#"{"agent":"other","instance":"w1","state":"ready"}"#).is_none(),
            "a record under another's key says nothing"
        );
    }
}
