//! A live view: one task hears what changes, the reader asks what is new to him.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp_runtime::{
    Client, PresenceRecord,
    transport::{
        self, Found, InstanceKey, Observed, Overdue, PresenceChange, PresenceChanges, Roll,
        StoreError,
    },
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::DropGuard;

use super::{
    Filter,
    roster::{AgentChange, Roster},
    several_versions,
};

/// How often it is looked who should have been heard: what the server tells may be missed, and a restarted one tells nothing.
const SWEEP: Duration = Duration::from_millis(500);

/// A live view of instances; dropping it ends it.
///
/// It holds a record for each instance, and for the reader no more than which of them have changed: who reads slowly sees the
/// latest state of each, and no coming or going twice. An instance that fell silent and is back is shown when it has kept up
/// for the lifetime of its record, so one that flaps stays away.
#[derive(Debug)]
pub struct AgentsView {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// While this is held, others are told of those who fall silent.
    _telling: Option<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    roster: Mutex<Roster>,
    news: Notify,
    /// Told before the reader is woken for the last time; that the task is finished would be known too late.
    ended: AtomicBool,
}

struct Observer {
    client: Client,
    changes: PresenceChanges,
    shared: Arc<Shared>,
    roll: Roll,
}

impl AgentsView {
    pub(super) async fn begin(
        client: Client,
        filter: Filter,
        tells: bool,
    ) -> Result<Self, StoreError> {
        // First the changes, then the state: what happens in between is heard twice, and told apart by its revision.
        let changes = PresenceChanges::listen(&client).await?;
        let now = Instant::now();
        let (mut roster, mut roll) = (Roster::new(filter), Roll::new(now));
        for found in transport::read_presence(&client, None).await? {
            roll.found(&found, now);
            roster.found(found, now);
        }
        roster.snapshot();
        let shared = Arc::new(Shared {
            roster: Mutex::new(roster),
            news: Notify::new(),
            ended: AtomicBool::new(false),
        });
        let telling = match tells {
            true => Some(transport::tell_who_falls_silent(&client).await?),
            false => None,
        };
        let observer = Observer {
            client,
            changes,
            shared: Arc::clone(&shared),
            roll,
        };
        Ok(Self {
            shared,
            task: tokio::spawn(observer.run()),
            _telling: telling,
        })
    }

    /// The instances as they are now, ordered by agent and instance; [`AgentsView::next`] tells only what changes after it.
    pub fn snapshot(&mut self) -> Vec<PresenceRecord> {
        self.shared.roster().snapshot()
    }

    /// The instances as they are now; what is new about them is still told by [`AgentsView::next`].
    #[must_use]
    pub fn current(&self) -> Vec<PresenceRecord> {
        self.shared.roster().current()
    }

    /// The agents in view that run in several versions at once, with these versions.
    #[must_use]
    pub fn several_versions(&self) -> BTreeMap<String, BTreeSet<String>> {
        several_versions(&self.current())
    }

    /// What has changed next; `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<AgentChange> {
        loop {
            if let Some(change) = self.shared.roster().next_change() {
                return Some(change);
            }
            if self.shared.ended.load(Ordering::Acquire) {
                return None;
            }
            self.shared.news.notified().await;
        }
    }
}

impl Drop for AgentsView {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader when the observer ends, however it does.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.news.notify_one();
    }
}

impl Observer {
    async fn run(mut self) {
        let _end = End(Arc::clone(&self.shared));
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What was heard meanwhile comes before the question who was not heard.
                biased;
                observed = self.changes.next() => match observed {
                    Some(Observed::Change(change)) => self.heed(change),
                    Some(_) => self.reconnected(),
                    None => return,
                },
                _ = sweep.tick() => self.look_for_the_overdue().await,
            }
            if self.shared.roster().has_news() {
                self.shared.news.notify_one();
            }
        }
    }

    fn reconnected(&mut self) {
        self.roll.reconnected(Instant::now());
        self.shared.roster().count_anew();
    }

    fn heed(&mut self, change: PresenceChange) {
        let now = Instant::now();
        if self.roll.hear(&change, now) {
            self.shared.roster().heard(change, now);
        }
    }

    async fn look_for_the_overdue(&mut self) {
        let late = self.roll.overdue(Instant::now());
        if late.is_empty() {
            return;
        }
        match transport::read_presence(&self.client, None).await {
            Ok(found) => self.judge(late, found),
            // They are looked for again.
            Err(error) => tracing::debug!(%error, "the presence bucket could not be read again"),
        }
    }

    fn judge(&mut self, late: Vec<Overdue>, found: Vec<Found>) {
        let now = Instant::now();
        let there: HashSet<InstanceKey> = found.iter().map(Found::key).collect();
        let mut roster = self.shared.roster();
        for found in found {
            roster.found(found, now);
        }
        for late in late {
            if !there.contains(&late.key) {
                self.roll.gone(&late.key);
                roster.not_found(late.key, now);
            }
        }
    }
}
