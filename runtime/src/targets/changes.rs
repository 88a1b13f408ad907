//! Changes of breakers as events. They are published by a task of their own, so that no send waits for them and none
//! fails by them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::{
    client::WeakClient,
    message::Name,
    resilience::{BreakerState, Transition},
};

/// Changes that wait to be published. While the server is away the rest is counted and dropped: nobody needs to learn
/// an hour later what opened and closed again meanwhile.
const QUEUE: usize = 256;

/// A change of a breaker.
pub(super) struct BreakerChange {
    /// Whose command made it change.
    pub(super) source: Name,
    pub(super) target: Name,
    pub(super) action: Option<Name>,
    pub(super) transition: Transition,
}

/// Where changes are told.
#[derive(Clone)]
pub(super) struct Changes {
    queue: mpsc::Sender<BreakerChange>,
    dropped: Arc<AtomicU64>,
    counted: watch::Sender<u64>,
}

/// What is to be published.
pub(crate) struct Unpublished {
    queue: mpsc::Receiver<BreakerChange>,
    dropped: Arc<AtomicU64>,
}

#[derive(Serialize)]
struct Data<'a> {
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    from: BreakerState,
    to: BreakerState,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_ms: Option<u64>,
    calls: u32,
    failures: u32,
}

impl Changes {
    pub(super) fn new() -> (Self, Unpublished) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let changes = Self {
            queue: sender,
            dropped: Arc::clone(&dropped),
            counted: watch::Sender::new(0),
        };
        (changes, Unpublished { queue, dropped })
    }

    pub(super) fn tell(&self, change: BreakerChange) {
        if self.queue.try_send(change).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.counted.send_modify(|count| *count += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.counted.subscribe()
    }
}

impl Unpublished {
    /// Publishes until the last client is dropped.
    pub(crate) async fn publish(mut self, client: WeakClient) {
        while let Some(change) = self.queue.recv().await {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "changes of circuit breakers came faster than they could be published"
                );
            }
            let Some(client) = client.upgrade(change.source.clone()) else {
                return;
            };
            let published = client
                .publish(event(change.transition.to), data(&change))
                .await;
            if let Err(error) = published {
                tracing::debug!(%error, target_agent = %change.target, "the change of a circuit breaker was not published");
            }
        }
    }
}

fn event(to: BreakerState) -> &'static str {
    match to {
        BreakerState::Closed => "breaker_closed",
        BreakerState::Open => "breaker_opened",
        BreakerState::HalfOpen => "breaker_half_opened",
    }
}

fn data(change: &BreakerChange) -> Data<'_> {
    let transition = &change.transition;
    let open = transition.open_for.map(|time| time.as_millis());
    Data {
        target: change.target.as_str(),
        action: change.action.as_ref().map(Name::as_str),
        from: transition.from,
        to: transition.to,
        cause: transition.cause.to_string(),
        open_ms: open.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        calls: transition.calls,
        failures: transition.failures,
    }
}
