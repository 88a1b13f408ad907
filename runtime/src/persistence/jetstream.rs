//! Messages on the server: the queue, the outcomes and the dead letters answer together.
//!
//! Nothing here consumes: every message is read where it lies. A work queue drops what is acknowledged, so a message
//! that is still there is *in flight* exactly when its consumer has delivered it, and *queued* when it has not. That
//! includes what the server holds back before a redelivery: it does not tell the two apart. The consumer is asked
//! once a query, so a message delivered meanwhile still shows as queued.
//!
//! A reserved outcome is not listed: its command is, in the queue. A command that failed for good and was
//! idempotent is listed twice: as done, with its error, and as dead.

mod describe;
mod find;
mod recover;

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::ErrorCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    client::Client,
    denials::Denied,
    message::Priority,
    store::{self, StoreError},
};

use super::{
    Cursor, Envelope, MessagePersistence, MessageQuery, MessageState, Page, PersistenceError,
    PersistenceFuture, PersistenceStats, Recovered, Reference, StoredMessage,
    reader::{ReadError, StreamReader, StreamState, ask},
    stats::{Counters, Verb},
};

use describe::Described;

pub(crate) use find::delete_message;

/// How long storing a message is tried.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// The places where messages lie, in the order in which a query lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Queue,
    Delayed,
    Outcomes,
    DeadLetters,
}

impl Source {
    pub(super) const ALL: [Self; 4] = [
        Self::Queue,
        Self::Delayed,
        Self::Outcomes,
        Self::DeadLetters,
    ];

    /// The states that its messages can be in.
    fn states(self) -> &'static [MessageState] {
        match self {
            Self::Queue => &[MessageState::Queued, MessageState::InFlight],
            Self::Delayed => &[MessageState::Queued],
            Self::Outcomes => &[MessageState::Done],
            Self::DeadLetters => &[MessageState::Dead],
        }
    }
}

/// The messages of one namespace on its server.
///
/// Reading needs the rights of an operator: gets on the streams and consumer information. Deleting needs those of an
/// administrator; a handler that already runs is not stopped by it.
#[derive(Debug)]
pub struct JetStreamPersistence {
    client: Client,
    counters: Counters,
}

impl JetStreamPersistence {
    /// The messages of the client's namespace.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            counters: Counters::default(),
        }
    }

    /// What the server does not answer, because this connection may not ask it, is an error at once.
    async fn unless_refused<T>(
        &self,
        asking: impl Future<Output = Result<T, PersistenceError>>,
    ) -> Result<T, PersistenceError> {
        let denials = self.client.denials();
        denials.unless_a_question_is_refused(asking).await?
    }

    async fn store(&self, envelope: &Envelope) -> Result<StoredMessage, PersistenceError> {
        let Some((agent, lane, action)) = envelope.command() else {
            return Err(PersistenceError::Invalid {
                reason: format!("{} is no command subject", envelope.subject()),
            });
        };
        let outgoing = envelope.outgoing();
        if outgoing.headers.get("Nats-Msg-Id").is_none() {
            return Err(PersistenceError::Invalid {
                reason: "the header Nats-Msg-Id is missing".to_owned(),
            });
        }
        let stored = store::store(&self.client, &outgoing, Instant::now() + STORE_TIMEOUT).await;
        let stored = stored.map_err(|error| match error {
            StoreError::TooLarge { size, limit } => PersistenceError::TooLarge { size, limit },
            StoreError::Denied { subject } => PersistenceError::PermissionDenied { subject },
            other => server("store", other),
        })?;
        Ok(StoredMessage {
            id: envelope.id().to_owned(),
            agent: agent.to_owned(),
            action: action.to_owned(),
            lane: Some(lane),
            state: MessageState::Queued,
            age: Duration::ZERO,
            stored_at_ms: self.client.clock().now_ms(),
            attempts: envelope.attempt(),
            size: envelope.body_len(),
            subject: envelope.subject().to_owned(),
            reference: Reference::Queue {
                sequence: stored.sequence,
            },
            error: None,
        })
    }

    async fn list(&self, query: &MessageQuery) -> Result<Page, PersistenceError> {
        let mut page = Page::default();
        let from = query.after.unwrap_or(Cursor {
            source: 0,
            sequence: 0,
        });
        for source in Source::ALL.into_iter().skip(usize::from(from.source)) {
            if !query.wants_any(source.states()) {
                continue;
            }
            let first = if source as u8 == from.source {
                from.sequence
            } else {
                0
            };
            let mut listing = self
                .listing(source, query, first)
                .await
                .map_err(|error| server("list", error))?;
            while let Some((sequence, message)) = listing
                .next()
                .await
                .map_err(|error| server("list", error))?
            {
                if !query.matches(&message) {
                    continue;
                }
                if page.messages.len() == query.page_size() {
                    page.next = Some(Cursor {
                        source: source as u8,
                        sequence,
                    });
                    return Ok(page);
                }
                page.messages.push(message);
            }
        }
        Ok(page)
    }

    async fn listing(
        &self,
        source: Source,
        query: &MessageQuery,
        from: u64,
    ) -> Result<Listing<'_>, ReadError> {
        let stream = self.stream(source);
        let state = StreamState::fetch(&self.client, &stream).await?;
        let reader = StreamReader::new(
            &self.client,
            stream,
            self.filter(source, query),
            from,
            state,
        );
        Ok(Listing {
            source,
            state,
            reader,
            delivered: Delivered {
                client: &self.client,
                floors: HashMap::new(),
            },
        })
    }

    fn stream(&self, source: Source) -> String {
        let namespace = self.client.namespace();
        match source {
            Source::Queue | Source::Delayed => namespace.commands_stream(),
            Source::Outcomes => format!("KV_{}", namespace.outcomes_bucket()),
            Source::DeadLetters => namespace.dead_letters_stream(),
        }
    }

    /// The narrowest subject that holds all that is asked for.
    fn filter(&self, source: Source, query: &MessageQuery) -> String {
        let namespace = self.client.namespace();
        let agent = query.agent.as_ref().map_or("*", |agent| agent.as_str());
        let lane = query.lane.map_or("*", Priority::as_str);
        // What stands behind an action's place may be more than one token where somebody published nonsense.
        let action = query.action.as_ref().map_or(">", |action| action.as_str());
        match source {
            Source::Queue => format!("{namespace}.cmd.{agent}.{lane}.{action}"),
            Source::Delayed => format!("{namespace}.delay.{agent}.>"),
            Source::Outcomes if query.action.is_some() => {
                format!("$KV.{}.{agent}.{action}.*", namespace.outcomes_bucket())
            }
            Source::Outcomes => format!("$KV.{}.{agent}.>", namespace.outcomes_bucket()),
            Source::DeadLetters => format!("{namespace}.dead.{agent}.{action}"),
        }
    }
}

/// The messages of one source, as they come.
struct Listing<'a> {
    source: Source,
    state: StreamState,
    reader: StreamReader<'a>,
    delivered: Delivered<'a>,
}

impl Listing<'_> {
    async fn next(&mut self) -> Result<Option<(u64, StoredMessage)>, ReadError> {
        while let Some(raw) = self.reader.next().await? {
            let sequence = raw.sequence;
            let described = match self.source {
                Source::Queue => Described::command(&raw, &self.state),
                Source::Delayed => Described::delayed(&raw, &self.state),
                Source::Outcomes => Described::outcome(&raw, &self.state),
                Source::DeadLetters => Described::dead_letter(&raw, &self.state),
            };
            let Some(mut message) = described else {
                continue;
            };
            if self.source == Source::Queue && self.delivered.includes(&message, sequence).await? {
                message.state = MessageState::InFlight;
            }
            return Ok(Some((sequence, message)));
        }
        Ok(None)
    }
}

/// How far the lanes' consumers have delivered, asked once for each lane.
struct Delivered<'a> {
    client: &'a Client,
    floors: HashMap<String, u64>,
}

impl Delivered<'_> {
    async fn includes(
        &mut self,
        message: &StoredMessage,
        sequence: u64,
    ) -> Result<bool, ReadError> {
        let Some(lane) = message.lane else {
            return Ok(false);
        };
        let consumer = format!("{}_{lane}", message.agent);
        if let Some(floor) = self.floors.get(&consumer) {
            return Ok(sequence <= *floor);
        }
        let floor = self.ask(&consumer).await?;
        self.floors.insert(consumer, floor);
        Ok(sequence <= floor)
    }

    /// 0 where there is no such consumer: nothing was ever delivered.
    async fn ask(&self, consumer: &str) -> Result<u64, ReadError> {
        #[derive(Deserialize)]
        struct Info {
            delivered: Sequence,
        }
        #[derive(Deserialize)]
        struct Sequence {
            stream_seq: u64,
        }
        let subject = format!(
            "CONSUMER.INFO.{}.{consumer}",
            self.client.namespace().commands_stream()
        );
        match ask::<Info>(self.client, subject, &json!({})).await? {
            Ok(info) => Ok(info.delivered.stream_seq),
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(0),
            Err(error) => Err(ReadError::new(error)),
        }
    }
}

impl MessagePersistence for JetStreamPersistence {
    fn save(&self, message: Envelope) -> PersistenceFuture<'_, StoredMessage> {
        Box::pin(async move { self.counters.count(Verb::Save, self.store(&message).await) })
    }

    fn load<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, Option<StoredMessage>> {
        Box::pin(async move {
            self.counters
                .count(Verb::Load, self.unless_refused(self.find(id)).await)
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, u64> {
        Box::pin(async move {
            self.counters
                .count(Verb::Delete, self.unless_refused(self.remove(id)).await)
        })
    }

    fn query(&self, query: MessageQuery) -> PersistenceFuture<'_, Page> {
        Box::pin(async move {
            self.counters
                .count(Verb::Query, self.unless_refused(self.list(&query)).await)
        })
    }

    fn mark_processed<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, bool> {
        Box::pin(async move {
            let removing = self.remove_from(&[Source::Queue, Source::Delayed], id);
            let removed = self.unless_refused(removing).await;
            self.counters
                .count(Verb::MarkProcessed, removed.map(|copies| copies > 0))
        })
    }

    fn recover(&self) -> PersistenceFuture<'_, Recovered> {
        Box::pin(async move {
            self.counters
                .count(Verb::Recover, self.unless_refused(self.left_behind()).await)
        })
    }

    fn stats(&self) -> PersistenceStats {
        self.counters.snapshot()
    }
}

impl From<Denied> for PersistenceError {
    fn from(denied: Denied) -> Self {
        Self::PermissionDenied {
            subject: denied.subject,
        }
    }
}

fn server(verb: &'static str, error: impl std::fmt::Display) -> PersistenceError {
    PersistenceError::Server {
        verb,
        reason: error.to_string(),
    }
}
