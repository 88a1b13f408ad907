//! A live view: one task hears what changes, the reader asks what is new to him.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mcp_runtime::{
    Client, PresenceRecord,
    transport::{self, InstanceChange, Observed, PresenceChange, PresenceChanges, StoreError},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Filter,
    roster::{AgentChange, Roster},
    several_versions,
};

/// Before the bucket is read again when that has failed.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// A live view of instances; dropping it ends it.
///
/// It holds a record for each instance, and for the reader no more than which of them have changed: who reads slowly sees the
/// latest state of each, and no coming or going twice. An instance that fell silent and is back is shown when it has kept up
/// for the lifetime of its record, so one that flaps stays away.
#[derive(Debug)]
pub struct AgentsView {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
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
    tells: bool,
    /// Before this an expiry may be that of a restarted server, which has forgotten everyone.
    believe_from: Instant,
    /// When the bucket is to be read again, to see who has gone while nothing was heard.
    read_at: Option<Instant>,
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
        let mut roster = Roster::new(filter);
        for found in transport::read_presence(&client, None).await? {
            roster.found(found, now);
        }
        roster.snapshot();
        let shared = Arc::new(Shared {
            roster: Mutex::new(roster),
            news: Notify::new(),
            ended: AtomicBool::new(false),
        });
        let observer = Observer {
            client,
            changes,
            shared: Arc::clone(&shared),
            tells,
            believe_from: now,
            read_at: None,
        };
        Ok(Self {
            shared,
            task: tokio::spawn(observer.run()),
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
        loop {
            let read_at = self.read_at;
            let reading = async {
                match read_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                observed = self.changes.next() => match observed {
                    Some(Observed::Change(change)) => self.heed(change).await,
                    Some(_) => self.reconnected(),
                    None => return,
                },
                () = reading => self.read_again().await,
            }
            if self.shared.roster().has_news() {
                self.shared.news.notify_one();
            }
        }
    }

    fn reconnected(&mut self) {
        let now = Instant::now();
        let mut roster = self.shared.roster();
        roster.count_anew();
        let lifetime = roster.longest_lifetime();
        drop(roster);
        // Those who live write their record when they are connected again, at the latest after an interval.
        self.believe_from = now + lifetime / 3;
        self.read_at = Some(now + lifetime);
    }

    async fn heed(&mut self, change: PresenceChange) {
        let now = Instant::now();
        if matches!(change.change, InstanceChange::Silent) {
            if now < self.believe_from {
                return;
            }
            if self.tells {
                let (client, change) = (self.client.clone(), change.clone());
                // Aside: the view must not wait for the server to store a notice.
                tokio::spawn(async move { transport::tell_offline(&client, &change).await });
            }
        }
        self.shared.roster().heard(change, now);
    }

    async fn read_again(&mut self) {
        match transport::read_presence(&self.client, None).await {
            Ok(found) => {
                self.read_at = None;
                let now = Instant::now();
                let mut roster = self.shared.roster();
                for found in found {
                    roster.found(found, now);
                }
                roster.forget_unheard(self.believe_from, now);
            }
            Err(error) => {
                tracing::debug!(%error, "the presence bucket could not be read again");
                sleep(READ_PAUSE).await;
            }
        }
    }
}
