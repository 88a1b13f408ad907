//! Packed round trips by hand: what has queued up is one message, unpacked and answered member by member, acknowledged once.
//!
//! As ours up to 64 members and 4 publishes under way; a member is its reply subject and its body, nothing else.

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
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use crate::Failed;

const SUBJECT: &str = "raw.packs";
const MOST_MEMBERS: usize = 64;
const MOST_PUBLISHES: usize = 4;

/// As many as the widest row has under way.
const QUEUE: usize = 1_024;

/// Ours waits for a reply with a bound, so a hanging benchmark must end too.
const TIMEOUT: Duration = Duration::from_secs(30);

type Member = (String, Bytes);
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Both ends: a worker that answers, and callers. Dropping it ends them.
pub(crate) struct Packs {
    callers: PackCaller,
    tasks: [JoinHandle<Result<(), Failed>>; 3],
}

/// Sends commands that are packed, and waits for their replies.
#[derive(Clone)]
pub(crate) struct PackCaller {
    inbox: Arc<str>,
    next: Arc<AtomicU64>,
    waiting: Waiting,
    queue: mpsc::Sender<Member>,
}

impl Packs {
    pub(crate) async fn start(
        worker: async_nats::Client,
        caller: async_nats::Client,
    ) -> Result<Self, Failed> {
        let stream = Config {
            name: "raw_packs".to_owned(),
            subjects: vec![SUBJECT.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        };
        let stream = jetstream::new(worker.clone())
            .get_or_create_stream(stream)
            .await?;
        let consumer = pull::Config {
            durable_name: Some("raw_pack_worker".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 10_000,
            ..pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer("raw_pack_worker", consumer)
            .await?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(1_000)
            .messages()
            .await?;
        let answering = async move {
            while let Some(message) = messages.next().await {
                let message = message?;
                let members: Vec<Member> = rmp_serde::from_slice(&message.payload)?;
                for (reply_to, body) in members {
                    worker.publish(reply_to, body).await?;
                }
                message.ack().await?;
            }
            Ok(())
        };
        let inbox = caller.new_inbox();
        let mut replies = caller.subscribe(format!("{inbox}.*")).await?;
        let waiting = Waiting::default();
        let callers = Arc::clone(&waiting);
        let routing = async move {
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
            Ok(())
        };
        let (queue, queued) = mpsc::channel(QUEUE);
        let callers = PackCaller {
            inbox: inbox.into(),
            next: Arc::default(),
            waiting,
            queue,
        };
        let packing = pack(caller, callers.inbox.to_string(), queued);
        Ok(Self {
            tasks: [
                tokio::spawn(answering),
                tokio::spawn(routing),
                tokio::spawn(packing),
            ],
            callers,
        })
    }

    pub(crate) fn caller(&self) -> PackCaller {
        self.callers.clone()
    }
}

/// Publishes what has queued up, again and again.
async fn pack(
    client: async_nats::Client,
    inbox: String,
    mut queued: mpsc::Receiver<Member>,
) -> Result<(), Failed> {
    let jetstream = jetstream::new(client);
    let publishes = Arc::new(Semaphore::new(MOST_PUBLISHES));
    let (mut number, mut members) = (0_u64, Vec::new());
    loop {
        let publish = Arc::clone(&publishes).acquire_owned().await?;
        if queued.recv_many(&mut members, MOST_MEMBERS).await == 0 {
            return Ok(());
        }
        number += 1;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{inbox}.pack.{number}"));
        let body = rmp_serde::to_vec(&std::mem::take(&mut members))?;
        let stored = jetstream
            .publish_with_headers(SUBJECT, headers, body.into())
            .await?;
        tokio::spawn(async move {
            // Without the acknowledgement there is no reply either, and the caller's time-out tells.
            let _ = stored.await;
            drop(publish);
        });
    }
}

impl PackCaller {
    /// One durable round trip.
    pub(crate) async fn command(&self, body: Bytes) -> Result<(), Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (replied, reply) = oneshot::channel();
        lock(&self.waiting).insert(number, replied);
        self.queue
            .send((format!("{}.{number}", self.inbox), body))
            .await?;
        tokio::time::timeout(TIMEOUT, reply).await??;
        Ok(())
    }
}

impl Drop for Packs {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
