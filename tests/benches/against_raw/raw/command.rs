//! A durable round trip by hand: a message in a work queue, pulled, answered over core NATS, acknowledged.
//!
//! One task pulls and answers: there is nothing to run, so nothing is faster. No retry, no time-out, no lease.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        stream::{Config, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::Failed;

const SUBJECT: &str = "raw.command";
const CORE: &str = "raw.core";
const REPLY_TO: &str = "Reply-To";

/// Ours waits for a reply with a bound, so a hanging benchmark must end too.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Answers every command with its own body. Dropping it ends that.
pub(crate) struct Worker {
    tasks: [JoinHandle<Result<(), Failed>>; 2],
}

impl Worker {
    pub(crate) async fn start(client: async_nats::Client) -> Result<Self, Failed> {
        let jetstream = jetstream::new(client.clone());
        let stream = Config {
            name: "raw_commands".to_owned(),
            subjects: vec![SUBJECT.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        };
        let stream = jetstream.get_or_create_stream(stream).await?;
        let consumer = pull::Config {
            durable_name: Some("raw_worker".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 10_000,
            ..pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer("raw_worker", consumer)
            .await?;
        // Of 64 to 1,000 this batch was the fastest of all.
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(1_000)
            .messages()
            .await?;
        let mut requests = client.subscribe(CORE).await?;
        let core = client.clone();
        let durable = async move {
            while let Some(message) = messages.next().await {
                let message = message?;
                let headers = message.headers.as_ref().ok_or("no headers")?;
                let reply_to = headers.get(REPLY_TO).ok_or("no reply subject")?;
                client
                    .publish(reply_to.as_str().to_owned(), message.payload.clone())
                    .await?;
                message.ack().await?;
            }
            Ok(())
        };
        let realtime = async move {
            while let Some(message) = requests.next().await {
                if let Some(reply) = message.reply {
                    core.publish(reply, message.payload).await?;
                }
            }
            Ok(())
        };
        Ok(Self {
            tasks: [tokio::spawn(durable), tokio::spawn(realtime)],
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waiting callers, by the number of their command; bounded by the load.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Sends commands and waits for acknowledgement and reply. One subscription for all replies, as in ours.
#[derive(Clone)]
pub(crate) struct Caller {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    inbox: Arc<str>,
    next: Arc<AtomicU64>,
    waiting: Waiting,
}

impl Caller {
    pub(crate) async fn start(client: async_nats::Client) -> Result<Self, Failed> {
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(format!("{inbox}.*")).await?;
        let waiting = Waiting::default();
        let callers = Arc::clone(&waiting);
        // Ends with the connection.
        tokio::spawn(async move {
            while let Some(reply) = replies.next().await {
                let number = reply
                    .subject
                    .rsplit('.')
                    .next()
                    .and_then(|text| text.parse().ok());
                let caller = number.and_then(|number: u64| lock(&callers).remove(&number));
                // A caller that has given up does not mind.
                let _ = caller.map(|caller| caller.send(()));
            }
        });
        Ok(Self {
            jetstream: jetstream::new(client.clone()),
            client,
            inbox: inbox.into(),
            next: Arc::default(),
            waiting,
        })
    }

    /// One durable round trip.
    pub(crate) async fn command(&self, body: Bytes) -> Result<(), Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (replied, reply) = oneshot::channel();
        lock(&self.waiting).insert(number, replied);
        let mut headers = self.headers(number);
        headers.insert(REPLY_TO, format!("{}.{number}", self.inbox));
        self.jetstream
            .publish_with_headers(SUBJECT, headers, body)
            .await?
            .await?;
        tokio::time::timeout(TIMEOUT, reply).await??;
        Ok(())
    }

    /// One round trip over core NATS.
    pub(crate) async fn request(&self, body: Bytes) -> Result<(), Failed> {
        self.client.request(CORE, body).await?;
        Ok(())
    }

    /// Stores one message on a subject that nobody consumes.
    pub(crate) async fn store(&self, subject: &'static str, body: Bytes) -> Result<(), Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let headers = self.headers(number);
        self.jetstream
            .publish_with_headers(subject, headers, body)
            .await?
            .await?;
        Ok(())
    }

    /// A stream for [`Caller::store`].
    pub(crate) async fn create_store(&self, subject: &'static str) -> Result<(), Failed> {
        let stream = Config {
            name: subject.replace('.', "_"),
            subjects: vec![subject.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..Config::default()
        };
        self.jetstream.get_or_create_stream(stream).await?;
        Ok(())
    }

    fn headers(&self, number: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{}.{number}", self.inbox));
        headers
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
