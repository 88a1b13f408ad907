//! What an earlier run has left, in numbers.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{RawMessageErrorKind, Stream},
};
use futures_util::TryStreamExt;

use crate::{
    client::Client,
    message::{Format, Token},
    outcome::{OutcomeRecord, OutcomeState},
    persistence::{MessageQuery, PersistenceError, Recovered},
};

use super::{JetStreamPersistence, ReadError, Source, StreamReader, StreamState, server};

/// Reservations are renewed every few seconds: older records are none. Leaves room for other implementations' leases.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

impl JetStreamPersistence {
    pub(super) async fn left_behind(&self) -> Result<Recovered, PersistenceError> {
        let counted = async {
            let mut left = Recovered::default();
            self.count_queue(&mut left).await?;
            left.dead = StreamState::fetch(&self.client, &self.stream(Source::DeadLetters))
                .await?
                .messages;
            self.count_reservations(&mut left).await?;
            Ok::<_, ReadError>(left)
        };
        let left = counted.await.map_err(|error| server("count", error))?;
        if left != Recovered::default() {
            let Recovered {
                queued,
                in_flight,
                dead,
                reservations,
                orphaned,
                ..
            } = left;
            tracing::info!(
                queued,
                in_flight,
                dead,
                reservations,
                orphaned,
                "found what an earlier run has left"
            );
        }
        Ok(left)
    }

    /// From the consumers' own counts: the messages are not looked at.
    async fn count_queue(&self, left: &mut Recovered) -> Result<(), ReadError> {
        let name = self.stream(Source::Queue);
        let state = StreamState::fetch(&self.client, &name).await?;
        let stream = self
            .client
            .jetstream()
            .get_stream_no_info(name)
            .await
            .map_err(ReadError::new)?;
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.try_next().await.map_err(ReadError::new)? {
            left.in_flight += consumer.num_ack_pending as u64;
            left.redelivered += consumer.num_redelivered as u64;
        }
        left.queued = state.messages.saturating_sub(left.in_flight);
        Ok(())
    }

    async fn count_reservations(&self, left: &mut Recovered) -> Result<(), ReadError> {
        let name = self.stream(Source::Outcomes);
        let state = StreamState::fetch(&self.client, &name).await?;
        let filter = self.filter(Source::Outcomes, &MessageQuery::new());
        let mut records =
            StreamReader::new(&self.client, name, filter, 0, state).younger_than(LONGEST_LEASE);
        let mut presence = Presence::new(&self.client).await?;
        while let Some(raw) = records.next().await? {
            let Some((agent, instance)) = reservation(&raw) else {
                continue;
            };
            left.reservations += 1;
            left.orphaned += u64::from(!presence.is_alive(&agent, &instance).await?);
        }
        Ok(())
    }
}

/// Who holds the key of a reserved record.
fn reservation(raw: &StreamMessage) -> Option<(String, String)> {
    if raw.headers.get("KV-Operation").is_some() {
        return None;
    }
    let record: OutcomeRecord = Format::Msgpack.decode(&raw.payload).ok()?;
    let agent = raw.subject.split('.').nth(2)?.to_owned();
    (record.state == OutcomeState::Reserved).then_some((agent, record.owner))
}

/// Which instances are alive, each looked up once.
struct Presence {
    bucket: String,
    stream: Stream<()>,
    known: HashMap<(String, String), bool>,
}

impl Presence {
    async fn new(client: &Client) -> Result<Self, ReadError> {
        let bucket = client.namespace().agents_bucket();
        let stream = client
            .jetstream()
            .get_stream_no_info(format!("KV_{bucket}"))
            .await
            .map_err(ReadError::new)?;
        Ok(Self {
            bucket,
            stream,
            known: HashMap::new(),
        })
    }

    /// By the record itself, not a marker that it left; the leader is asked, so the answer is fresh.
    async fn is_alive(&mut self, agent: &str, instance: &str) -> Result<bool, ReadError> {
        let id = (agent.to_owned(), instance.to_owned());
        if let Some(alive) = self.known.get(&id) {
            return Ok(*alive);
        }
        let alive = match Token::new(instance) {
            Ok(instance) => {
                self.look_up(format!("$KV.{}.{agent}.{}", self.bucket, instance.as_str()))
                    .await?
            }
            Err(_) => false,
        };
        self.known.insert(id, alive);
        Ok(alive)
    }

    async fn look_up(&self, subject: String) -> Result<bool, ReadError> {
        match self
            .stream
            .raw_message_builder()
            .last_by_subject(subject)
            .send()
            .await
        {
            Ok(record) => Ok(record.headers.get("KV-Operation").is_none()
                && record.headers.get("Nats-Marker-Reason").is_none()),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(ReadError::new(error)),
        }
    }
}
