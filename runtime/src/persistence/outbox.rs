//! The outbox: commands that cannot reach the server wait in a local folder, and are sent when it is back.
//!
//! Off by default; [`DurabilityTable`](super::DurabilityTable) says which lanes use it. A spooled command survives
//! kill -9 and a power cut: it is synced to disk before [`Outbox::spool`] returns. It is cleared only after the server
//! has acknowledged its publish, so a crash in between sends it twice: the stream recognises the second within its
//! deduplication window, and after that only an idempotency key makes it take effect once.

mod book;
mod drain;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Mutex, Notify};

use crate::message::Priority;

use super::{
    Envelope, MessagePersistence, MessageQuery, MessageState, Page, PersistenceError,
    PersistenceFuture, PersistenceStats, Recovered, Reference, StoredMessage,
    stats::{Counters, Verb},
};

use book::{Book, BookError, Entry, Place};

pub use book::Spooled;

/// Where an outbox lies and what it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxConfig {
    /// The folder, made when it is missing. Each process needs one of its own.
    pub folder: PathBuf,
    /// The most messages it holds (default 10,000); one more is refused.
    pub max_messages: u64,
    /// The most bytes it holds, headers included (default 64 MiB); more are refused.
    pub max_bytes: u64,
}

impl OutboxConfig {
    /// An outbox with the default bounds.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_messages: 10_000,
            max_bytes: 64 * 1024 * 1024,
        }
    }

    /// The most messages it holds.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// The most bytes it holds, headers included.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// A durable local queue of commands on their way to the server. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: mcp_runtime::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_runtime::persistence::{Outbox, OutboxConfig};
/// use tokio_util::sync::CancellationToken;
///
/// let outbox = Outbox::open(OutboxConfig::new(".mcp/outbox")).await?;
/// let stop = CancellationToken::new();
/// let draining = tokio::spawn({
///     let (outbox, stop) = (outbox.clone(), stop.clone());
///     async move { outbox.drain(&client, &stop).await }
/// });
/// # stop.cancel();
/// # draining.await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    config: OutboxConfig,
    book: Arc<Book>,
    /// Writers wait here and not in the store, where each would hold a blocking thread.
    writing: Mutex<()>,
    draining: Mutex<()>,
    spooled: Notify,
    counters: Counters,
}

impl Outbox {
    /// Opens the outbox, and makes it when it is missing.
    ///
    /// # Errors
    /// [`PersistenceError::OutboxInUse`] when another process has it open; else when the folder cannot be used.
    pub async fn open(config: OutboxConfig) -> Result<Self, PersistenceError> {
        let for_book = config.clone();
        let opened = blocking(move || Book::open(&for_book)).await;
        let book = opened.map_err(|error| outbox_error(&config, error))?;
        let inner = Inner {
            config,
            book: Arc::new(book),
            writing: Mutex::default(),
            draining: Mutex::default(),
            spooled: Notify::new(),
            counters: Counters::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Stores a command until it can be sent. One with an id that is there already is not stored twice.
    ///
    /// # Errors
    /// [`PersistenceError::OutboxFull`] when a bound is reached; else when it is no durable command or the disk fails.
    pub async fn spool(&self, envelope: Envelope) -> Result<Spooled, PersistenceError> {
        let spooled = self.add(envelope).await;
        self.inner.counters.count(Verb::Save, spooled)
    }

    async fn add(&self, envelope: Envelope) -> Result<Spooled, PersistenceError> {
        let Some((_, lane, _)) = envelope.command() else {
            return Err(PersistenceError::Invalid {
                reason: format!("{} is no command subject", envelope.subject()),
            });
        };
        let spooled = self.write(move |book| book.add(lane, envelope)).await?;
        self.inner.spooled.notify_one();
        Ok(spooled)
    }

    /// How many commands wait, those included that the server refused for good.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn len(&self) -> Result<u64, PersistenceError> {
        self.read(|book| book.len()).await
    }

    /// Whether nothing waits.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn is_empty(&self) -> Result<bool, PersistenceError> {
        Ok(self.len().await? == 0)
    }

    async fn remove(&self, id: &str) -> Result<u64, PersistenceError> {
        let id = id.to_owned();
        self.write(move |book| book.remove_id(&id))
            .await
            .map(u64::from)
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Book) -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, PersistenceError> {
        let _one_at_a_time = self.inner.writing.lock().await;
        self.read(change).await
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Book) -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, PersistenceError> {
        let book = Arc::clone(&self.inner.book);
        blocking(move || look(&book))
            .await
            .map_err(|error| outbox_error(&self.inner.config, error))
    }
}

impl MessagePersistence for Outbox {
    fn save(&self, message: Envelope) -> PersistenceFuture<'_, StoredMessage> {
        Box::pin(async move {
            let id = message.id().to_owned();
            self.spool(message).await?;
            let saved = self.read(move |book| book.find(&id)).await?;
            let (place, entry) = saved.ok_or_else(|| PersistenceError::Invalid {
                reason: "it was sent or deleted as soon as it was stored".to_owned(),
            })?;
            Ok(describe(place, &entry))
        })
    }

    fn load<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, Option<StoredMessage>> {
        Box::pin(async move {
            let id = id.to_owned();
            let found = self.read(move |book| book.find(&id)).await;
            let found = self.inner.counters.count(Verb::Load, found)?;
            Ok(found.map(|(place, entry)| describe(place, &entry)))
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, u64> {
        Box::pin(async move {
            self.inner
                .counters
                .count(Verb::Delete, self.remove(id).await)
        })
    }

    fn query(&self, query: MessageQuery) -> PersistenceFuture<'_, Page> {
        Box::pin(async move {
            let page = self.read(move |book| book.query(&query)).await;
            self.inner.counters.count(Verb::Query, page)
        })
    }

    fn mark_processed<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, bool> {
        Box::pin(async move {
            let removed = self.remove(id).await.map(|copies| copies > 0);
            self.inner.counters.count(Verb::MarkProcessed, removed)
        })
    }

    fn recover(&self) -> PersistenceFuture<'_, Recovered> {
        Box::pin(async move {
            let left = self.read(|book| book.count()).await;
            self.inner.counters.count(Verb::Recover, left)
        })
    }

    fn stats(&self) -> PersistenceStats {
        self.inner.counters.snapshot()
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

fn describe(place: Place, entry: &Entry) -> StoredMessage {
    let envelope = &entry.envelope;
    let (agent, lane, action) = envelope.command().unwrap_or(("", Priority::default(), ""));
    let age_ms = crate::unix_ms().saturating_sub(envelope.created_at_ms());
    StoredMessage {
        id: envelope.id().to_owned(),
        agent: agent.to_owned(),
        action: action.to_owned(),
        lane: Some(lane),
        state: if entry.refusal.is_some() {
            MessageState::Dead
        } else {
            MessageState::Queued
        },
        age: Duration::from_millis(age_ms),
        stored_at_ms: i64::try_from(envelope.created_at_ms()).unwrap_or(i64::MAX),
        attempts: envelope.attempt(),
        size: envelope.body_len(),
        subject: envelope.subject().to_owned(),
        reference: Reference::Outbox {
            sequence: place.sequence,
        },
        error: entry.refusal.clone(),
    }
}

/// Reads an entry of the file as whoever sends or lists it does.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_entry(body: &[u8]) {
    if let Ok(entry) = book::decode(body) {
        let place = Place {
            lane: 0,
            sequence: 1,
        };
        let _ = describe(place, &entry);
        let _ = entry.envelope.outgoing_aged();
        crate::fuzzing::again(&entry);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BookError> + Send + 'static,
) -> Result<T, BookError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BookError::Stopped(error)),
    }
}

fn outbox_error(config: &OutboxConfig, error: BookError) -> PersistenceError {
    let folder = config.folder.display().to_string();
    match error {
        BookError::Full { limit } => PersistenceError::OutboxFull { folder, limit },
        BookError::InUse => PersistenceError::OutboxInUse { folder },
        BookError::TooLarge { size, limit } => PersistenceError::TooLarge { size, limit },
        other => PersistenceError::Outbox {
            folder,
            source: Box::new(other),
        },
    }
}
