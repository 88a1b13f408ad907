//! The messages of one durable consumer, each handled in a task of its own, a bounded number at once.
//!
//! For everything that is pulled without lanes: events, and the tasks of workflows.

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::Message;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, error::ReceiveError};

use super::{
    Worker,
    delivery::DeliveryInfo,
    expect::expect_consumers,
    lease::{Lease, Leases},
    puller::Puller,
};

/// A message that was pulled, with the right to settle it.
pub struct Delivered {
    /// The message.
    pub message: Message,
    /// What the server says about it.
    pub info: DeliveryInfo,
    /// Renewed until it is settled, dropped or lost.
    pub lease: Lease,
}

/// What pulls; dropping it asks for nothing more.
pub struct Consumption {
    stop: CancellationToken,
    idle: watch::Receiver<bool>,
}

struct Loop<F> {
    puller: Puller,
    leases: Leases,
    connections: watch::Receiver<u64>,
    concurrency: usize,
    /// A place for each message that is handled.
    room: Arc<Semaphore>,
    stop: CancellationToken,
    handle: Arc<F>,
}

impl Consumption {
    /// Begins to pull on behalf of a worker, whose leases keep the messages. At most `concurrency`
    /// messages (at least 1) are handled at once; no more are asked for.
    ///
    /// # Errors
    /// When the inbox cannot be subscribed to.
    pub async fn start<F, Fut>(
        worker: &Worker,
        stream: &str,
        consumer: &str,
        concurrency: usize,
        handle: F,
    ) -> Result<Self, ReceiveError>
    where
        F: Fn(Delivered) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let client: Client = worker.client().clone();
        expect_consumers(&client, stream, &[consumer.to_owned()]).await?;
        let puller = Puller::new(client.clone(), stream, consumer).await?;
        let stop = CancellationToken::new();
        let (idle_tx, idle) = watch::channel(false);
        let pulling = Loop {
            puller,
            leases: worker.leases().clone(),
            connections: client.connections(),
            concurrency: concurrency.max(1),
            room: Arc::new(Semaphore::new(concurrency.max(1))),
            stop: stop.clone(),
            handle: Arc::new(handle),
        };
        tokio::spawn(pulling.run(idle_tx));
        Ok(Self { stop, idle })
    }

    /// Asks for nothing more and lets what runs come to its end within `grace`. Returns whether it did.
    pub async fn drain(mut self, grace: Duration) -> bool {
        self.stop.cancel();
        let ended = tokio::time::timeout(grace, self.idle.wait_for(|idle| *idle)).await;
        ended.is_ok_and(|idle| idle.is_ok())
    }
}

impl Drop for Consumption {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<F, Fut> Loop<F>
where
    F: Fn(Delivered) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    async fn run(mut self, idle: watch::Sender<bool>) {
        let mut running = JoinSet::new();
        loop {
            // More may come than was asked for: a pull that counted as lost may be filled all the same.
            let free = self.concurrency.saturating_sub(running.len()) as u64;
            let outstanding = self.puller.outstanding();
            // Topped up in halves: one request for many messages.
            if outstanding * 2 <= free && free > outstanding && self.puller.may_ask() {
                self.puller.ask(free - outstanding).await;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                // One that panicked has ended too: its message is redelivered.
                Some(_) = running.join_next() => {}
                Ok(()) = self.connections.changed() => self.puller.reset(),
                message = self.puller.next() => if let Some(message) = message {
                    self.begin(message, &mut running);
                },
            }
        }
        while let Some(message) = self.puller.next_after_drain().await {
            self.begin(message, &mut running);
        }
        while running.join_next().await.is_some() {}
        idle.send_replace(true);
    }

    fn begin(&self, message: Message, running: &mut JoinSet<()>) {
        let read = |reply: &async_nats::Subject| Some((DeliveryInfo::parse(reply)?, reply.clone()));
        // What no consumer delivered cannot be settled.
        let Some((info, ack_subject)) = message.reply.as_ref().and_then(read) else {
            return;
        };
        let lease = self.leases.take(ack_subject);
        let (handle, room) = (Arc::clone(&self.handle), Arc::clone(&self.room));
        running.spawn(async move {
            // What came beyond the room waits, with its lease kept.
            let Ok(_place) = room.acquire_owned().await else {
                return;
            };
            let delivered = Delivered {
                message,
                info,
                lease,
            };
            handle(delivered).await;
        });
    }
}
