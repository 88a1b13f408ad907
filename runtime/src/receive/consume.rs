//! The messages of one durable consumer, each handled in a task of its own, a bounded number at once.
//!
//! For everything that is pulled without lanes: events, and the tasks of workflows.

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, error::ReceiveError};

use super::{
    Worker,
    delivery::DeliveryInfo,
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
        let puller = Puller::new(client.clone(), stream, consumer).await?;
        let stop = CancellationToken::new();
        let (idle_tx, idle) = watch::channel(false);
        let pulling = Loop {
            puller,
            leases: worker.leases().clone(),
            connections: client.connections(),
            concurrency: concurrency.max(1),
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
        // Each running message reports its end once, so this can never be full.
        let (done_tx, mut done) = mpsc::channel(self.concurrency);
        let mut in_flight = 0;
        loop {
            let free = (self.concurrency - in_flight) as u64;
            let outstanding = self.puller.outstanding();
            // Topped up in halves: one request for many messages.
            if outstanding * 2 <= free && free > outstanding && self.puller.may_ask() {
                self.puller.ask(free - outstanding).await;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(()) = done.recv() => in_flight -= 1,
                Ok(()) = self.connections.changed() => self.puller.reset(),
                message = self.puller.next() => if let Some(message) = message {
                    in_flight += usize::from(self.begin(message, &done_tx));
                },
            }
        }
        while let Some(message) = self.puller.next_after_drain().await {
            in_flight += usize::from(self.begin(message, &done_tx));
        }
        while in_flight > 0 && done.recv().await.is_some() {
            in_flight -= 1;
        }
        idle.send_replace(true);
    }

    /// Whether there is something to handle: a message that no consumer delivered cannot be settled.
    fn begin(&self, message: Message, done: &mpsc::Sender<()>) -> bool {
        let read = |reply: &async_nats::Subject| Some((DeliveryInfo::parse(reply)?, reply.clone()));
        let Some((info, ack_subject)) = message.reply.as_ref().and_then(read) else {
            return false;
        };
        let lease = self.leases.take(ack_subject);
        let (handle, done) = (Arc::clone(&self.handle), done.clone());
        tokio::spawn(async move {
            // Reported also when the handler panics.
            let _done = Done(done);
            let delivered = Delivered {
                message,
                info,
                lease,
            };
            handle(delivered).await;
        });
        true
    }
}

/// Reports the end of one message when it is dropped.
struct Done(mpsc::Sender<()>);

impl Drop for Done {
    fn drop(&mut self) {
        // There is a place for each running message.
        let _ = self.0.try_send(());
    }
}
