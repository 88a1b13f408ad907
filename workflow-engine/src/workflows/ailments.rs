//! Workflows that nothing will bring on any more, and what helps them.
//!
//! None of it happens by crashes: tasks are acknowledged after everything else. It happens when tasks are lost from outside, by a
//! purge of a stream or when only the buckets are restored. What is done here is safe beside running engines: a task more is
//! recognised, and a record is never written.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, Name, Token,
    transport::{self, Bucket, server_now_ms},
};

use crate::{
    Hosted,
    checkpoint::WorkflowCheckpoint,
    record::{WorkflowRecord, WorkflowStatus},
    task::{Task, Verb},
};

use super::{WorkflowError, Workflows, peek::Peek};

/// Ailments that one look finds; what is left is found by the next.
const MOST: usize = 1_000;

/// How long storing a repair is tried.
const STORE_TIME: Duration = Duration::from_secs(20);

/// Something that is wrong with a workflow, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ailment {
    /// It runs by its record, but the task that drives it is gone: no engine will ever take it.
    Abandoned(Ailing),
    /// Its time has passed, but the timer is gone.
    Overslept(Ailing),
    /// It is parked, but an engine that has its version is there, and has not heard of it.
    Stranded(Ailing),
    /// A checkpoint of a workflow that is not there.
    OrphanedCheckpoint {
        /// The workflow that there was.
        workflow_id: Token,
        /// The checkpoint.
        name: Name,
        /// Which write of the record it copies.
        epoch: u64,
    },
}

/// A workflow that needs help.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ailing {
    /// Its id.
    pub workflow_id: Token,
    /// The definition.
    pub definition: Name,
    /// The state that it is in.
    pub state: Name,
    /// The last write: what has been written since needs no help.
    pub epoch: u64,
}

impl Ailing {
    fn of(record: &WorkflowRecord) -> Self {
        Self {
            workflow_id: record.id.clone(),
            definition: record.definition.clone(),
            state: record.state.clone(),
            epoch: record.epoch,
        }
    }
}

impl Workflows {
    /// What is wrong with workflows that were last written, or checkpoints that were made, at least so long ago; at most 1,000
    /// ailments.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn ailments(&self, older_than: Duration) -> Result<Vec<Ailment>, WorkflowError> {
        let before = server_now_ms(&self.client).saturating_sub(millis(older_than));
        let (suspects, known) = self.suspects(before).await?;
        let mut found = Vec::new();
        for record in suspects {
            if found.len() >= MOST {
                return Ok(found);
            }
            // Read again after the look into the stream: what was done meanwhile is no ailment.
            found.extend(self.confirmed(&record, before).await?);
        }
        for checkpoint in self.orphans(&known, before).await? {
            if found.len() >= MOST {
                break;
            }
            let WorkflowCheckpoint {
                workflow_id,
                name,
                epoch,
                ..
            } = checkpoint;
            found.push(Ailment::OrphanedCheckpoint {
                workflow_id,
                name,
                epoch,
            });
        }
        Ok(found)
    }

    /// Helps, if it is as it was; returns whether it did. Twice does no harm.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn heal(&self, ailment: &Ailment) -> Result<bool, WorkflowError> {
        match ailment {
            Ailment::Abandoned(ailing) | Ailment::Overslept(ailing) | Ailment::Stranded(ailing) => {
                self.revive(ailing).await
            }
            Ailment::OrphanedCheckpoint {
                workflow_id,
                name,
                epoch,
            } => self.remove_orphan(workflow_id, name, *epoch).await,
        }
    }

    /// Records that could be ill, and the ids of all that there are.
    async fn suspects(
        &self,
        before: u64,
    ) -> Result<(Vec<WorkflowRecord>, HashSet<String>), WorkflowError> {
        let (mut suspects, mut known) = (Vec::new(), HashSet::new());
        let hosted = Hosted::now(&self.client).await?;
        // For a version that nobody brings it waits rightly.
        let can_go_on = |record: &WorkflowRecord| {
            record.status != WorkflowStatus::Parked
                || hosted.has(record.definition.as_str(), &record.version)
        };
        for shard in 0..self.store().await?.shards() {
            let bucket = self.client.namespace().workflows_bucket(shard);
            let take = |key: &str, body: &[u8]| {
                known.insert(key.to_owned());
                let active = |peek: &Peek<'_>| {
                    peek.updated_at < before
                        && matches!(peek.status, "running" | "waiting" | "parked")
                };
                if Peek::at(body).is_some_and(|peek| active(&peek)) {
                    let record = WorkflowRecord::decode(body).ok();
                    suspects
                        .extend(record.filter(|it| symptom(it, before).is_some() && can_go_on(it)));
                }
            };
            transport::scan(&self.client, &bucket, ">", take).await?;
        }
        Ok((suspects, known))
    }

    async fn confirmed(
        &self,
        record: &WorkflowRecord,
        before: u64,
    ) -> Result<Option<Ailment>, WorkflowError> {
        let (store, id) = (self.store().await?, record.id.as_str());
        let helped = store.is_queued(&record.definition, id).await?
            // The timer of a wait that it was parked in says nothing of its version.
            || (record.driver.is_none()
                && record.status != WorkflowStatus::Parked
                && store.has_timer(&record.definition, id).await?);
        let same = store
            .read_fresh(id)
            .await?
            .is_some_and(|now| now.record.epoch == record.epoch);
        Ok(symptom(record, before).filter(|_| !helped && same))
    }

    async fn revive(&self, ailing: &Ailing) -> Result<bool, WorkflowError> {
        let (store, id) = (self.store().await?, ailing.workflow_id.as_str());
        let Some(found) = store.read_fresh(id).await? else {
            return Ok(false);
        };
        let record = Arc::unwrap_or_clone(found.record);
        let now_ms = server_now_ms(&self.client);
        let same = record.epoch == ailing.epoch;
        if !same
            || self
                .confirmed(&record, now_ms.saturating_add(1))
                .await?
                .is_none()
        {
            return Ok(false);
        }
        let message_id = format!("{id}.{}.repair", record.epoch);
        let mut task = Task::new(Verb::Wake, record.definition, record.id, now_ms);
        task.entry = Some(record.entry);
        if record.status == WorkflowStatus::Parked {
            task.version = Some(record.version);
        }
        // An engine takes over what the task of this id drives; where nobody drives, it is a timer that comes late.
        task.id = record
            .driver
            .map_or(message_id.clone(), |driver| driver.task);
        let body = task.encode().map_err(|error| WorkflowError::Invalid {
            reason: error.to_string(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message_id);
        headers.insert("Content-Type", Format::Msgpack.content_type());
        let subject = store.task_subject(&task);
        transport::publish(&self.client, subject, headers, body, STORE_TIME).await?;
        Ok(true)
    }

    /// Checkpoints of workflows that are not among those known.
    async fn orphans(
        &self,
        known: &HashSet<String>,
        before: u64,
    ) -> Result<Vec<WorkflowCheckpoint>, WorkflowError> {
        let mut orphans: Vec<WorkflowCheckpoint> = Vec::new();
        for shard in 0..self.store().await?.shards() {
            let bucket = self.client.namespace().checkpoints_bucket(shard);
            let take = |key: &str, body: &[u8]| {
                let id = key.split('.').next().unwrap_or_default();
                if known.contains(id) || orphans.len() >= MOST {
                    return;
                }
                let Ok(checkpoint) = WorkflowCheckpoint::decode(body) else {
                    return;
                };
                if checkpoint.created_at < before {
                    // The last of each name stands for all of that name.
                    let same = |other: &WorkflowCheckpoint| {
                        other.workflow_id == checkpoint.workflow_id && other.name == checkpoint.name
                    };
                    orphans.retain(|other| !same(other));
                    orphans.push(checkpoint);
                }
            };
            transport::scan(&self.client, &bucket, ">", take).await?;
        }
        let mut gone = Vec::new();
        for orphan in orphans {
            // One that was begun since has its record, or its start.
            if self.look(orphan.workflow_id.as_str()).await?.is_none() {
                gone.push(orphan);
            }
        }
        Ok(gone)
    }

    async fn remove_orphan(
        &self,
        id: &Token,
        name: &Name,
        epoch: u64,
    ) -> Result<bool, WorkflowError> {
        let store = self.store().await?;
        let shard = store.shard(id.as_str());
        let bucket = self.client.namespace().checkpoints_bucket(shard);
        let key = format!("{id}.{name}");
        let bucket = Bucket::new(&self.client, &bucket);
        let Some(entry) = bucket.read(&key).await? else {
            return Ok(false);
        };
        let same = WorkflowCheckpoint::decode(&entry.value).is_ok_and(|found| found.epoch == epoch);
        if !same || self.look(id.as_str()).await?.is_some() {
            return Ok(false);
        }
        Ok(bucket.purge_at(&key, entry.revision).await?)
    }
}

/// What a record alone lets suspect.
fn symptom(record: &WorkflowRecord, before: u64) -> Option<Ailment> {
    if record.updated_at >= before {
        return None;
    }
    if record.driver.is_some() {
        return Some(Ailment::Abandoned(Ailing::of(record)));
    }
    if record.status == WorkflowStatus::Parked {
        return Some(Ailment::Stranded(Ailing::of(record)));
    }
    let due = record
        .wake_in_ms
        .map(|wake| record.updated_at.saturating_add(wake));
    let overslept = record.status == WorkflowStatus::Waiting && due.is_some_and(|due| due < before);
    overslept.then(|| Ailment::Overslept(Ailing::of(record)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
