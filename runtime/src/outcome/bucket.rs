//! The outcome records on the server: reserve, renew, complete, each by compare-and-set.

use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, client::RequestErrorKind};
use tokio::time::Instant;

use crate::{
    client::Client,
    message::Format,
    payload,
    store::{self, CONFLICTS, Outgoing, StoreError},
};

use super::OutcomeRecord;

/// How long a reservation lives without being renewed; the server counts it.
const LEASE: Duration = Duration::from_secs(10);

/// How long one access may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the trace of a released key stays, for those who wait for its end.
const RELEASED_AGE: &str = "60s";

/// The header that names the command of a record whose body lies in the object store.
pub(crate) const COMMAND_ID: &str = "Mcp-Command-Id";

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutcomeError {
    /// Somebody else has written it meanwhile.
    #[error("the record was changed meanwhile")]
    Conflict,
    #[error("cannot access the outcome record: {0}")]
    Unavailable(String),
    #[error("the outcome record cannot be read: {0}")]
    Unreadable(String),
}

/// What lies under a key.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// 0 when there is nothing, as compare-and-set wants it.
    pub(crate) revision: u64,
    pub(crate) record: Option<OutcomeRecord>,
    /// The record's key was released: it only tells how the last attempt ended.
    pub(crate) released: bool,
}

impl Found {
    /// Whether this is our own reservation, wherever it has got to, or nothing any more.
    pub(crate) fn is_still(&self, ours: &OutcomeRecord) -> bool {
        match &self.record {
            None => self.revision == 0,
            Some(under) => !self.released && under.is_same_write(ours),
        }
    }
}

/// How long a record stays.
#[derive(Debug, Clone, Copy)]
enum Mark {
    /// Until its lease passes.
    Leased,
    /// As long as the bucket keeps records.
    Lasting,
    /// A minute, and as a deletion.
    Released,
}

/// A key that is ours until the lease passes.
#[derive(Debug)]
pub(crate) struct Reservation {
    key: String,
    revision: u64,
    renewed_at: Instant,
    pub(crate) record: OutcomeRecord,
}

/// The bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    client: Client,
    prefix: String,
    direct_get: String,
}

impl Bucket {
    pub(crate) fn new(client: &Client) -> Self {
        let bucket = client.namespace().outcomes_bucket();
        Self {
            client: client.clone(),
            direct_get: format!("$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}."),
            prefix: format!("$KV.{bucket}."),
        }
    }

    /// Reads what lies under a key. On a cluster it may be old: decide by compare-and-set only.
    pub(crate) async fn read(&self, key: &str) -> Result<Found, OutcomeError> {
        let deadline = Instant::now() + TIMEOUT;
        let subject = format!("{}{key}", self.direct_get);
        loop {
            let request = self
                .client
                .nats()
                .request(subject.clone(), Default::default());
            let asked = self
                .client
                .denials()
                .unless_refused(&subject, request)
                .await;
            let failure =
                match asked.map_err(|denied| OutcomeError::Unavailable(denied.to_string()))? {
                    Ok(message) => return self.found(&message).await,
                    Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                        "no answer".to_owned()
                    }
                    Err(error) => error.to_string(),
                };
            if Instant::now() >= deadline {
                return Err(OutcomeError::Unavailable(failure));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes the key, when `revision` is still what lies under it.
    pub(crate) async fn reserve(
        &self,
        key: &str,
        revision: u64,
        record: OutcomeRecord,
    ) -> Result<Reservation, OutcomeError> {
        // Counted from before the publish: the server begins to count after it.
        let renewed_at = Instant::now();
        let revision = self.write(key, revision, &record, Mark::Leased).await?;
        Ok(Reservation {
            key: key.to_owned(),
            revision,
            renewed_at,
            record,
        })
    }

    /// Shows that the work goes on.
    pub(crate) async fn renew(&self, reservation: &mut Reservation) -> Result<(), OutcomeError> {
        let record = reservation.record.clone();
        self.overwrite(reservation, &record, Mark::Leased).await
    }

    /// Writes the final record, or that of a failed attempt, if the reservation still stands.
    pub(crate) async fn complete(
        &self,
        reservation: &mut Reservation,
        record: &OutcomeRecord,
    ) -> Result<(), OutcomeError> {
        self.overwrite(reservation, record, Mark::Lasting).await
    }

    /// Gives the key free; what is left for a minute only tells how it ended.
    pub(crate) async fn release(
        &self,
        reservation: &mut Reservation,
        record: &OutcomeRecord,
    ) -> Result<(), OutcomeError> {
        self.overwrite(reservation, record, Mark::Released).await
    }

    /// Writes over our own reservation, wherever it has got to: a renewal whose acknowledgement was lost
    /// has moved its revision, and the server may have let it expire while nobody could reach it.
    async fn overwrite(
        &self,
        reservation: &mut Reservation,
        record: &OutcomeRecord,
        mark: Mark,
    ) -> Result<(), OutcomeError> {
        let sent_at = Instant::now();
        let key = &reservation.key;
        let revision = match self.write(key, reservation.revision, record, mark).await {
            Err(OutcomeError::Conflict) => {
                let found = self.read(key).await?;
                if !found.is_still(&reservation.record) {
                    return Err(OutcomeError::Conflict);
                }
                self.write(key, found.revision, record, mark).await?
            }
            written => written?,
        };
        reservation.revision = revision;
        reservation.renewed_at = sent_at;
        Ok(())
    }

    async fn write(
        &self,
        key: &str,
        revision: u64,
        record: &OutcomeRecord,
        mark: Mark,
    ) -> Result<u64, OutcomeError> {
        let mut outgoing = self.outgoing(key, revision, record).await?;
        match mark {
            Mark::Leased => outgoing
                .headers
                .insert("Nats-TTL", format!("{}s", LEASE.as_secs())),
            Mark::Lasting => {}
            Mark::Released => {
                outgoing.headers.insert("KV-Operation", "DEL");
                outgoing.headers.insert("Nats-TTL", RELEASED_AGE);
            }
        }
        self.put(&outgoing, key, record).await
    }

    async fn outgoing(
        &self,
        key: &str,
        revision: u64,
        record: &OutcomeRecord,
    ) -> Result<Outgoing, OutcomeError> {
        let body = Format::Msgpack
            .encode(record)
            .map_err(|error| OutcomeError::Unreadable(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        // Only a response is ever large; without one the revision tells the record from others of its key.
        let id = record.response.as_ref().map_or_else(
            || format!("{key}.{revision}"),
            |response| response.id.clone(),
        );
        let checked_in =
            payload::check_in(&self.client, &format!("outcome.{id}"), body, &mut headers).await;
        let body = checked_in.map_err(|error| OutcomeError::Unavailable(error.to_string()))?;
        if body.is_empty() {
            // Tells whose it is without fetching it.
            headers.insert(COMMAND_ID, record.command_id.as_str());
        }
        Ok(Outgoing {
            subject: format!("{}{key}", self.prefix),
            headers,
            body,
        })
    }

    async fn put(
        &self,
        outgoing: &Outgoing,
        key: &str,
        record: &OutcomeRecord,
    ) -> Result<u64, OutcomeError> {
        match store::store(&self.client, outgoing, Instant::now() + TIMEOUT).await {
            Ok(stored) => Ok(stored.sequence),
            // A write whose acknowledgement was lost is sent again, and then conflicts with itself.
            Err(StoreError::Refused { code, .. }) if CONFLICTS.contains(&code) => {
                match self.read(key).await? {
                    Found {
                        revision,
                        record: Some(found),
                        ..
                    } if found.is_same_write(record) => Ok(revision),
                    _ => Err(OutcomeError::Conflict),
                }
            }
            Err(error) => Err(OutcomeError::Unavailable(error.to_string())),
        }
    }

    async fn found(&self, message: &Message) -> Result<Found, OutcomeError> {
        if message.status == Some(StatusCode::NOT_FOUND) {
            return Ok(Found::default());
        }
        let header = |name: &str| {
            message
                .headers
                .as_ref()
                .and_then(|headers| headers.get(name))
        };
        let revision = header("Nats-Sequence").and_then(|sequence| sequence.as_str().parse().ok());
        let Some(revision) = revision else {
            return Err(OutcomeError::Unavailable(
                "the answer carries no sequence".to_owned(),
            ));
        };
        let released = header("KV-Operation").is_some();
        let claimed =
            payload::check_out(&self.client, message.headers.as_ref(), &message.payload).await;
        let claimed = claimed.map_err(|error| match error.is_temporary() {
            true => OutcomeError::Unavailable(error.to_string()),
            false => OutcomeError::Unreadable(error.to_string()),
        })?;
        let body = claimed.as_ref().unwrap_or(&message.payload);
        let record = match body.is_empty() {
            true => None,
            false => Some(
                Format::Msgpack
                    .decode(body)
                    .map_err(|error| OutcomeError::Unreadable(error.to_string()))?,
            ),
        };
        Ok(Found {
            revision,
            record,
            released,
        })
    }
}

impl Reservation {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// When the reservation should be renewed: two renewals may fail before the lease passes.
    pub(crate) fn renew_at(&self) -> Instant {
        self.renewed_at + LEASE / 3
    }
}

impl OutcomeRecord {
    /// Within one process only one command of a key is worked on, so owner and message tell the write.
    pub(crate) fn is_same_write(&self, other: &Self) -> bool {
        self.owner == other.owner
            && self.command_id == other.command_id
            && self.sequence == other.sequence
            && self.state == other.state
            && self.errors.len() == other.errors.len()
    }
}
