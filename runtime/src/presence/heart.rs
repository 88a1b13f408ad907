//! Writes the record again and again, and says when the instance has come online.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use rand::Rng;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    client::Client,
    receive::LoadMeter,
    store::{self, Outgoing, StoreError, Stored},
};

use super::{InstanceState, LIFETIME_INTERVALS, Lifeline, PresenceRecord, notices::Notice};

/// Changes of breakers within this time are told by one record.
const GATHERED: Duration = Duration::from_millis(200);

/// How often it is looked whether the instance has become full, or has room again: so often at most a record tells it.
const GLANCE: Duration = Duration::from_secs(1);

/// How many records in a row an instance that had expired must write before it says that it is back: one that comes and goes
/// says nothing.
const STEADY: u32 = LIFETIME_INTERVALS;

/// Runs on the lifeline: nothing here may wait for the runtime of the handlers.
pub(super) struct Heart {
    client: Client,
    lifeline: Arc<Lifeline>,
    key_subject: String,
    interval: Duration,
    load: Arc<LoadMeter>,
    record: PresenceRecord,
    /// Whether the last record told that it is full.
    told_full: bool,
    online: Online,
    restoring: Option<AbortOnDropHandle<()>>,
}

/// What is known of how the others see this instance.
struct Online {
    /// When the last record was stored.
    stored_at: Option<Instant>,
    /// Records that are still to be stored before it is said; `None` when that has been done.
    owed: Option<u32>,
}

impl Online {
    /// A record was stored; whether it is now time to say that the instance is online.
    fn note(&mut self, now: Instant, lifetime: Duration) -> bool {
        let before = self.stored_at.replace(now);
        if before.is_some_and(|before| now - before > lifetime) {
            // It had expired, and the others have taken the instance for dead.
            self.owed = Some(STEADY);
        }
        self.owed = self.owed.map(|owed| owed.saturating_sub(1));
        let due = self.owed == Some(0);
        if due {
            self.owed = None;
        }
        due
    }
}

impl Heart {
    pub(super) fn new(
        client: Client,
        lifeline: Arc<Lifeline>,
        key_subject: String,
        interval: Duration,
        load: Arc<LoadMeter>,
        record: PresenceRecord,
    ) -> Self {
        Self {
            client,
            lifeline,
            key_subject,
            interval,
            load,
            record,
            told_full: false,
            restoring: None,
            online: Online {
                stored_at: None,
                // The first record says it.
                owed: Some(1),
            },
        }
    }

    pub(super) async fn run(mut self, mut changes: watch::Receiver<InstanceState>) {
        let mut connections = self.lifeline.connections();
        let mut breakers = self.client.targets().breaker_changes();
        loop {
            let pause = self.interval.mul_f64(rand::rng().random_range(0.9..=1.1));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.fills_or_empties() => {}
                Ok(()) = connections.changed() => self.restore(),
                Ok(()) = breakers.changed() => tokio::time::sleep(GATHERED).await,
                changed = changes.changed() => if changed.is_err() { return },
            }
            breakers.mark_unchanged();
            self.record.state = *changes.borrow_and_update();
            if self.lifeline.is_hung() {
                tracing::error!("the runtime of the handlers hangs, no sign of life is given");
                continue;
            }
            if let Err(error) = self.beat(self.interval).await {
                tracing::warn!(%error, "the presence record could not be written");
                self.restore();
            }
        }
    }

    /// Until the instance is full and has not told so, or the other way round.
    async fn fills_or_empties(&self) {
        loop {
            tokio::time::sleep(GLANCE).await;
            if self.load.is_full() != self.told_full {
                return;
            }
        }
    }

    /// A restarted server may have lost the bucket, which lies in its memory. Aside: a record is published until the bucket takes
    /// it, and must not wait until everything else is checked too.
    fn restore(&mut self) {
        let under_way = self.restoring.as_ref();
        if !self.client.may_create() || under_way.is_some_and(|restoring| !restoring.is_finished())
        {
            return;
        }
        let (client, lifeline) = (self.client.clone(), Arc::clone(&self.lifeline));
        let restoring = tokio::spawn(async move {
            if let Err(error) = lifeline.restore(client.topology()).await {
                tracing::warn!(%error, "the streams and buckets could not be checked");
            }
        });
        self.restoring = Some(AbortOnDropHandle::new(restoring));
    }

    /// Writes the record.
    pub(super) async fn beat(&mut self, within: Duration) -> Result<(), StoreError> {
        let stored = self.write(within).await?;
        let lifetime = self.interval * LIFETIME_INTERVALS;
        if self.online.note(Instant::now(), lifetime) {
            // Aside: the next record must not wait for it.
            let notice = Notice::online(&self.record, stored.sequence);
            tokio::spawn(notice.tell(self.client.clone()));
        }
        Ok(())
    }

    async fn write(&mut self, within: Duration) -> Result<Stored, StoreError> {
        self.record.seq += 1;
        self.record.load = self.load.load();
        self.record.breakers = self.client.targets().breakers_to_publish();
        self.told_full = self.record.load.in_flight >= self.record.load.capacity;
        let mut record = self.record.clone();
        if record.state == InstanceState::Ready && self.told_full {
            record.state = InstanceState::Busy;
        }
        let body = serde_json::to_vec(&record).expect("a presence record has string keys only");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", ttl_seconds(self.interval * LIFETIME_INTERVALS));
        let outgoing = Outgoing {
            subject: self.key_subject.clone(),
            headers,
            body: body.into(),
        };
        store::store(&*self.lifeline, &outgoing, Instant::now() + within).await
    }
}

/// The server counts lifetimes in whole seconds.
fn ttl_seconds(lifetime: Duration) -> String {
    format!("{}s", lifetime.as_millis().div_ceil(1000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_had_expired_says_that_it_is_back_when_it_is_steady() {
        let lifetime = Duration::from_secs(3);
        let begin = Instant::now();
        let mut online = Online {
            stored_at: None,
            owed: Some(1),
        };
        let mut says = |second: u64| online.note(begin + Duration::from_secs(second), lifetime);
        assert!(says(0), "the first record");
        assert_eq!([1, 2, 4].map(&mut says), [false; 3], "nothing was missed");
        // It flaps: nothing is said until it has kept up for a lifetime.
        assert_eq!([10, 20, 30, 31].map(&mut says), [false; 4]);
        assert!(says(32));
        assert_eq!([33, 34].map(says), [false; 2], "once");
    }
}
