//! What is stored, where, and how to find it again.
//!
//! - [`DurabilityTable`] decides what is durable, by message kind and priority.
//! - [`MessagePersistence`] is what every store of messages can do.
//! - [`JetStreamPersistence`] answers from the server: queue, outcomes and dead letters together.
//! - [`Outbox`] is a local folder for commands that cannot reach the server now.
//!
//! Sending does not go through here: a command is stored by its publish. Dead letters have verbs of their own in
//! [`DeadLetters`](crate::DeadLetters).

mod envelope;
mod identity;
mod jetstream;
mod outbox;
mod policy;
mod query;
mod reader;
mod stats;

use std::{future::Future, pin::Pin, time::Duration};

use crate::message::{McpError, Priority};

pub use envelope::Envelope;
pub use jetstream::JetStreamPersistence;
pub use outbox::{Outbox, OutboxConfig, Spooled};
pub use policy::{Durability, DurabilityTable, FixedDurability, MessageKind};
pub use query::{Cursor, MessageQuery, Page};
pub use stats::{Count, PersistenceStats};

pub(crate) use identity::{header, identify};
pub(crate) use jetstream::delete_message;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use outbox::read_entry;
pub(crate) use reader::{ReadError, StreamReader, StreamState, unix_ms};

/// The answer of a persistence, boxed so that [`MessagePersistence`] can stand behind a pointer.
pub type PersistenceFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, PersistenceError>> + Send + 'a>>;

/// A store of messages.
///
/// ```no_run
/// # async fn example(client: mcp_runtime::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_runtime::persistence::{JetStreamPersistence, MessagePersistence, MessageQuery, MessageState};
///
/// let store: Box<dyn MessagePersistence> = Box::new(JetStreamPersistence::new(&client));
/// let page = store.query(MessageQuery::new().state(MessageState::Queued)).await?;
/// for message in page.messages {
///     println!("{} {}.{} attempt {}", message.id, message.agent, message.action, message.attempts);
/// }
/// # Ok(()) }
/// ```
pub trait MessagePersistence: Send + Sync {
    /// Stores a message durably; done when it survives a crash. A message that is there already is not stored twice.
    fn save(&self, message: Envelope) -> PersistenceFuture<'_, StoredMessage>;

    /// Finds a message by its id; where there are several, such as a dead letter and its redriven command, the one
    /// that still goes on.
    fn load<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, Option<StoredMessage>>;

    /// Removes a message for good; returns how many copies there were.
    fn delete<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, u64>;

    /// Lists messages, a page at a time.
    fn query(&self, query: MessageQuery) -> PersistenceFuture<'_, Page>;

    /// Takes note that somebody has dealt with a message: it is not delivered again. Returns whether it was waiting.
    fn mark_processed<'a>(&'a self, id: &'a str) -> PersistenceFuture<'a, bool>;

    /// Tells what an earlier run has left.
    fn recover(&self) -> PersistenceFuture<'_, Recovered>;

    /// How often each verb succeeded and failed.
    fn stats(&self) -> PersistenceStats;
}

/// Where a message is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageState {
    /// Waits to be taken up, now or at a later time.
    Queued,
    /// Delivered and not acknowledged.
    InFlight,
    /// Its outcome is stored.
    Done,
    /// Among the dead letters, or refused for good.
    Dead,
}

impl MessageState {
    /// The state as one word or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in flight",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl std::fmt::Display for MessageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a stored message lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// In the stream of commands.
    Queue {
        /// Its stream sequence.
        sequence: u64,
    },
    /// In the stream of commands, as a schedule that delivers it later.
    Delayed {
        /// Its stream sequence.
        sequence: u64,
    },
    /// In the bucket of outcomes.
    Outcome {
        /// `<agent>.<action>.<hash>`.
        key: String,
        /// The record's revision.
        revision: u64,
    },
    /// In the stream of dead letters.
    DeadLetter {
        /// Its stream sequence.
        sequence: u64,
    },
    /// In the local outbox.
    Outbox {
        /// Its place in its lane.
        sequence: u64,
    },
}

/// A message as a store knows it. Its body stays where it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// The message id; empty where the message does not say.
    pub id: String,
    /// The agent it is for.
    pub agent: String,
    /// What it asks for.
    pub action: String,
    /// Its lane, where the store knows it.
    pub lane: Option<Priority>,
    /// Where it is on its way.
    pub state: MessageState,
    /// How long ago it was stored, by the store's own clock.
    pub age: Duration,
    /// When it was stored: Unix milliseconds by the store's clock, for people.
    pub stored_at_ms: i64,
    /// The attempt it carries; of done and dead messages, how many there were.
    pub attempts: u32,
    /// Body in bytes, as it is stored.
    pub size: usize,
    /// The subject it was published on, or the key it lies under.
    pub subject: String,
    /// Where it lies.
    pub reference: Reference,
    /// The last error of a done or dead message that failed.
    pub error: Option<McpError>,
}

/// What an earlier run has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Messages that wait to be taken up, delayed ones included.
    pub queued: u64,
    /// Messages that were delivered and not acknowledged: the server delivers them again when their lease has passed.
    pub in_flight: u64,
    /// Of those in flight, messages that were delivered more than once.
    pub redelivered: u64,
    /// Messages that need somebody: dead letters, and what an outbox was refused.
    pub dead: u64,
    /// Idempotency keys that are reserved now.
    pub reservations: u64,
    /// Of those, reservations whose instance is gone: the server frees their keys when the lease has passed.
    pub orphaned: u64,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersistenceError {
    /// This connection may not use a subject that this needs.
    #[error("the server does not let this connection use {subject}")]
    PermissionDenied {
        /// What was asked.
        subject: String,
    },
    /// The server cannot be reached, or refused.
    #[error("cannot {verb} messages on the server: {reason}")]
    Server {
        /// What was to be done.
        verb: &'static str,
        /// What failed.
        reason: String,
    },
    /// The message is larger than the server takes.
    #[error("the message of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Of body and headers.
        size: usize,
        /// The server's.
        limit: usize,
    },
    /// The message itself cannot be stored.
    #[error("the message cannot be stored: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// An outcome makes its key take effect once, so it goes by age only.
    #[error("message {id} is done; its outcome protects its idempotency key and expires by itself")]
    Done {
        /// The message.
        id: String,
    },
    /// The outbox holds as much as it may.
    #[error("the outbox in {folder} is full: {limit}")]
    OutboxFull {
        /// The outbox.
        folder: String,
        /// Which bound was reached, with its value.
        limit: String,
    },
    /// Another process, or another part of this one, has the outbox open.
    #[error(
        "the outbox in {folder} is in use by another process; every process needs a folder of its own"
    )]
    OutboxInUse {
        /// The outbox.
        folder: String,
    },
    /// The outbox cannot be read or written.
    #[error("the outbox in {folder} cannot be used")]
    Outbox {
        /// The outbox.
        folder: String,
        /// What the disk or the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
