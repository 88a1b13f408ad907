//! The right to settle a message: held by renewing it, lost when it was not renewed in time.
//!
//! An acknowledgement is no fence: one that comes late deletes the message although another instance
//! has it by now. So whoever may have lost the lease stays silent.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::Subject;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{client::Client, presence::Lifeline, telemetry};

use super::pack::Place;

/// How long the server waits for a sign of life before it delivers a message again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(10);

/// How often long work gives one: two may be lost before the lease is.
const RENEW_EVERY: Duration = Duration::from_secs(3);

const ACK: Bytes = Bytes::from_static(b"+ACK");
const TERM: Bytes = Bytes::from_static(b"+TERM");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// The leases that this process holds; one task renews them all, over the lifeline: handlers cannot hold it up.
#[derive(Clone)]
pub(crate) struct Leases {
    client: Client,
    lifeline: Arc<Lifeline>,
    held: Arc<Mutex<HashMap<u64, Held>>>,
    next_id: Arc<AtomicU64>,
}

struct Held {
    ack_subject: Subject,
    renewed_at: Instant,
    lost: CancellationToken,
}

/// The lease of one message, or of one member of a pack. Dropping it without settling leaves the message to redelivery.
pub struct Lease(Right);

enum Right {
    Message(Whole),
    Member(Place),
}

/// The lease of what the server delivered.
pub(super) struct Whole {
    id: u64,
    ack_subject: Subject,
    lost: CancellationToken,
    leases: Leases,
}

impl Leases {
    /// Starts the task that renews; it ends when `stop` is cancelled.
    pub(crate) fn keep(client: Client, lifeline: Arc<Lifeline>, stop: CancellationToken) -> Self {
        let leases = Self {
            client,
            lifeline,
            held: Arc::default(),
            next_id: Arc::default(),
        };
        let keeper = leases.clone();
        leases.lifeline.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                keeper.renew().await;
            }
        });
        leases
    }

    /// Takes the lease of a message that was delivered just now.
    pub(crate) fn take(&self, ack_subject: Subject) -> Lease {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let lost = CancellationToken::new();
        let held = Held {
            ack_subject: ack_subject.clone(),
            renewed_at: Instant::now(),
            lost: lost.clone(),
        };
        self.table().insert(id, held);
        Lease(Right::Message(Whole {
            id,
            ack_subject,
            lost,
            leases: self.clone(),
        }))
    }

    async fn renew(&self) {
        let now = Instant::now();
        // While the connection is down nothing goes out, whatever the publish says.
        let connected = self.lifeline.is_connected();
        // Whoever hangs for good is not to keep work from the others.
        let renews = connected && !self.lifeline.is_hung();
        for ack_subject in self.due(now, renews) {
            if let Err(error) = self.lifeline.nats().publish(ack_subject, IN_PROGRESS).await {
                tracing::debug!(%error, "an in-progress acknowledgement was not sent");
            }
        }
    }

    /// Marks what is lost, and what is about to be renewed.
    fn due(&self, now: Instant, renews: bool) -> Vec<Subject> {
        let mut due = Vec::new();
        for held in self.table().values_mut() {
            let age = now.duration_since(held.renewed_at);
            if age >= ACK_WAIT {
                held.lost.cancel();
            } else if age >= RENEW_EVERY && renews && !held.lost.is_cancelled() {
                held.renewed_at = now;
                due.push(held.ack_subject.clone());
            }
        }
        due
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The right to settle one member of a pack.
    pub(super) fn in_pack(place: Place) -> Self {
        Self(Right::Member(place))
    }

    /// The lease of what the server delivered; `None` for a member of a pack.
    pub(super) fn whole(self) -> Option<Whole> {
        match self.0 {
            Right::Message(whole) => Some(whole),
            Right::Member(_) => None,
        }
    }

    /// Fires when the lease is lost: the work is somebody else's now.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        match &self.0 {
            Right::Message(whole) => &whole.lost,
            Right::Member(place) => place.lost(),
        }
    }

    /// Whether the message may still be settled.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match &self.0 {
            Right::Message(whole) => whole.is_held(),
            Right::Member(place) => place.is_held(),
        }
    }

    /// Whether the server can be told to deliver it again: not so a member, without the others of its pack.
    pub(super) fn can_be_given_back(&self) -> bool {
        matches!(self.0, Right::Message(_))
    }

    /// Says that the message is done.
    pub async fn acknowledge(self) {
        match self.0 {
            Right::Message(whole) => whole.acknowledge().await,
            Right::Member(place) => place.settle().await,
        }
    }

    /// Says that the message must never be delivered again.
    pub async fn terminate(self) {
        match self.0 {
            Right::Message(whole) => {
                let span = telemetry::settling("term", whole.leases.client.name());
                whole.settle(TERM).instrument(span).await;
            }
            Right::Member(place) => place.settle().await,
        }
    }

    /// Gives a message whose handling failed back, to be delivered again after `delay`; a member of a pack comes back with
    /// the pack.
    pub async fn give_back(self, delay: Duration) {
        let Right::Message(whole) = self.0 else {
            return;
        };
        let span = telemetry::settling("nak", whole.leases.client.name());
        let nak = format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos());
        whole.settle(nak.into()).instrument(span).await;
    }
}

impl Whole {
    pub(super) async fn acknowledge(self) {
        self.settle(ACK).await;
    }

    pub(super) fn is_held(&self) -> bool {
        let table = self.leases.table();
        // Judged here too, not by the keeper's mark alone: after a stop of the whole process the
        // handler may be scheduled before the keeper.
        table
            .get(&self.id)
            .is_some_and(|held| !held.lost.is_cancelled() && held.renewed_at.elapsed() < ACK_WAIT)
    }

    async fn settle(self, verdict: Bytes) {
        if !self.is_held() {
            tracing::warn!("the lease of a message has passed, leaving it to its new owner");
            return;
        }
        if let Err(error) = self
            .leases
            .client
            .nats()
            .publish(self.ack_subject.clone(), verdict)
            .await
        {
            tracing::warn!(%error, "a message could not be settled, it will be delivered again");
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.leases.table().remove(&self.id);
    }
}
