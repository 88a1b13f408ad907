//! What every instance does about the others: it hears how busy they are, and tells of those that fall silent.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    InstanceChange, InstanceState, Observed, PresenceChange, PresenceChanges, PresenceRecord, Roll,
    notices::{Notice, Notices, OLDEST},
    read,
    roll::{InstanceKey, Overdue},
};
use crate::{client::Client, message::Name, store::StoreError};

/// How often it is looked who should have been heard.
const SWEEP: Duration = Duration::from_millis(500);

/// The revision in the notice of an instance that the server had forgotten before it could expire.
const FORGOTTEN: u64 = 0;

/// Publishes what falls silent for as long as what it returns is held. However many do it, one notice of each is stored.
///
/// # Errors
/// When the connection is closed.
pub async fn tell_who_falls_silent(client: &Client) -> Result<DropGuard, StoreError> {
    let changes = PresenceChanges::listen(client).await?;
    let stop = CancellationToken::new();
    tokio::spawn(observe(client.clone(), changes, stop.clone()));
    Ok(stop.drop_guard())
}

/// Listens and tells, until told to stop.
pub(crate) async fn observe(client: Client, mut changes: PresenceChanges, stop: CancellationToken) {
    let mut observer = Observer {
        notices: Notices::begin(&client, stop.clone()),
        client,
        roll: Roll::new(Instant::now()),
    };
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            observed = changes.next() => match observed {
                Some(Observed::Change(change)) => observer.heed(&change),
                Some(Observed::Reconnected) => observer.roll.reconnected(Instant::now()),
                None => return,
            },
            _ = sweep.tick() => {
                // What is late of an observer that has no connection?
                let late = if observer.client.is_connected() { observer.roll.overdue(Instant::now()) } else { Vec::new() };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = observer.look_for(late) => {}
                }
            }
        }
    }
}

struct Observer {
    client: Client,
    roll: Roll,
    notices: Notices,
}

impl Observer {
    fn heed(&mut self, change: &PresenceChange) {
        let is_believed = self.roll.hear(change, Instant::now());
        match &change.change {
            InstanceChange::Alive(record, _) => self.heed_load(record),
            InstanceChange::Silent if is_believed => self.tell_expired(change),
            InstanceChange::Silent | InstanceChange::Left => {}
        }
    }

    /// Lets the limiter know how busy an agent says it is, if anything is sent to it from here.
    fn heed_load(&self, record: &PresenceRecord) {
        if let Ok(agent) = Name::new(&record.agent) {
            let takes_commands = record.state != InstanceState::Draining;
            let load = || takes_commands.then_some(record.load);
            self.client.targets().observe_load(&agent, load);
        }
    }

    fn tell_expired(&self, change: &PresenceChange) {
        let age = change
            .stored_at_ms
            .map_or(Duration::ZERO, |at| self.client.clock().age(at));
        if let Some(left) = OLDEST.checked_sub(age) {
            let (agent, instance) = (&change.agent, &change.instance);
            let notice = Notice::offline(agent, instance, change.revision, Instant::now() + left);
            self.notices.tell(notice);
        }
    }

    /// Looks for those who should have been heard: their expiry may have been missed, or there was nothing left to expire.
    async fn look_for(&mut self, late: Vec<Overdue>) {
        let agents: HashSet<String> = late.iter().map(|late| late.key.0.clone()).collect();
        let mut lies: HashMap<InstanceKey, PresenceChange> = HashMap::new();
        for agent in agents {
            let Ok(name) = Name::new(&agent) else {
                continue;
            };
            match read::entries(&self.client, Some(&name)).await {
                Ok(entries) => lies.extend(entries.into_iter().map(|entry| (entry.key(), entry))),
                // They are looked for again.
                Err(error) => {
                    return tracing::debug!(%error, "the presence bucket could not be read");
                }
            }
        }
        for late in late {
            self.judge(&late, lies.get(&late.key));
        }
    }

    fn judge(&mut self, late: &Overdue, lies: Option<&PresenceChange>) {
        match lies.map(|lies| &lies.change) {
            Some(InstanceChange::Alive(..)) => return,
            Some(InstanceChange::Left) => {}
            Some(InstanceChange::Silent) => lies.into_iter().for_each(|it| self.tell_expired(it)),
            // Nothing at all: of the same bucket, others have seen it go.
            None => {
                let left = OLDEST.checked_sub(late.by);
                if let Some(left) = left.filter(|_| late.is_forgotten) {
                    let (agent, instance) = (&late.key.0, &late.key.1);
                    let until = Instant::now() + left;
                    let notice = Notice::offline(agent, instance, FORGOTTEN, until);
                    self.notices.tell(notice);
                }
            }
        }
        self.roll.gone(&late.key);
    }
}
