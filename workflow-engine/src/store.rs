//! Where workflows lie: records, checkpoints and starts, by shard.

mod queued;

use std::sync::Arc;

use async_nats::jetstream::{ErrorCode, response::Response};
use bytes::Bytes;
use mcp_runtime::{
    Client, Format, Name, Token,
    transport::{self, Bucket, Entry, StoreError, WriteError},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::Versioned,
    record::{WorkflowRecord, WorkflowStatus},
    task::Task,
};

/// How often a checkpoint is looked at anew because somebody else has changed it.
const MOST_LOOKS: u32 = 8;

fn contended() -> StoreError {
    StoreError::Unavailable {
        reason: "the checkpoint is changed by others each time".to_owned(),
    }
}

/// The buckets and streams of workflows in one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    client: Client,
    shards: Vec<Shard>,
    /// A read may come from a replica that lags behind.
    replicated: bool,
}

#[derive(Debug, Clone)]
struct Shard {
    records: Bucket,
    checkpoints: Bucket,
    tasks: String,
}

impl Store {
    pub(crate) fn new(client: &Client, shards: u16) -> Self {
        let namespace = client.namespace();
        let shards = (0..shards.max(1)).map(|shard| Shard {
            records: Bucket::new(client, &namespace.workflows_bucket(shard)),
            checkpoints: Bucket::new(client, &namespace.checkpoints_bucket(shard)),
            tasks: namespace.tasks_stream(shard),
        });
        Self {
            client: client.clone(),
            shards: shards.collect(),
            replicated: false,
        }
    }

    pub(crate) fn replicated(self, replicated: bool) -> Self {
        Self { replicated, ..self }
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// The shard of a workflow: CRC-32 of its id, modulo the number of shards.
    pub(crate) fn shard(&self, workflow_id: &str) -> u16 {
        let hash = crc32fast::hash(workflow_id.as_bytes());
        u16::try_from(hash % u32::from(self.shards())).unwrap_or_default()
    }

    fn of(&self, workflow_id: &str) -> &Shard {
        &self.shards[usize::from(self.shard(workflow_id))]
    }

    /// The subject of a task: `start` or `control`.
    pub(crate) fn task_subject(&self, task: &Task) -> String {
        let kind = match task.task {
            crate::task::Verb::Start => "start",
            _ => "control",
        };
        self.subject("wf", &task.definition, kind, task.workflow_id.as_str())
    }

    fn subject(&self, tree: &str, definition: &Name, kind: &str, workflow_id: &str) -> String {
        let (namespace, shard) = (self.client.namespace(), self.shard(workflow_id));
        format!("{namespace}.{tree}.{definition}.{shard}.{kind}.{workflow_id}")
    }

    /// The subjects of a workflow's timer: of the schedule, and of the task that it becomes.
    pub(crate) fn timer_subjects(&self, definition: &Name, workflow_id: &str) -> (String, String) {
        let (namespace, shard) = (self.client.namespace(), self.shard(workflow_id));
        let schedule = format!("{namespace}.timer.{definition}.{shard}.{workflow_id}");
        (
            schedule,
            self.subject("wf", definition, "control", workflow_id),
        )
    }

    /// As [`Store::read`], but never old: what an engine decides by, also when it decides to do nothing.
    pub(crate) async fn read_fresh(
        &self,
        workflow_id: &str,
    ) -> Result<Option<Versioned>, StoreError> {
        match self.replicated {
            true => self.read_from_leader(workflow_id).await,
            false => self.read(workflow_id).await,
        }
    }

    /// As [`Store::read`], from the one server that has everything that was confirmed.
    pub(crate) async fn read_from_leader(
        &self,
        workflow_id: &str,
    ) -> Result<Option<Versioned>, StoreError> {
        let records = &self.of(workflow_id).records;
        let entry = records.read_from_leader(workflow_id).await?;
        let entry = entry.filter(|entry| !entry.value.is_empty());
        entry.map(|entry| versioned(&entry)).transpose()
    }

    pub(crate) async fn read(&self, workflow_id: &str) -> Result<Option<Versioned>, StoreError> {
        let entry = self.of(workflow_id).records.read(workflow_id).await?;
        // What an operator has deleted is not there.
        let entry = entry.filter(|entry| !entry.value.is_empty());
        entry.map(|entry| versioned(&entry)).transpose()
    }

    pub(crate) async fn write(
        &self,
        record: &WorkflowRecord,
        revision: u64,
    ) -> Result<u64, WriteError> {
        let body = record.encode().map_err(|error| StoreError::Refused {
            code: 0,
            description: error.to_string(),
        })?;
        let id = record.id.as_str();
        let records = &self.of(id).records;
        match records.write(id, revision, body.clone()).await {
            // Over the mark that a deletion has left.
            Err(WriteError::Conflict(Some(entry))) if revision == 0 && entry.value.is_empty() => {
                records.write(id, entry.revision, body).await
            }
            written => written,
        }
    }

    /// The start task of a workflow, as long as it waits in its stream; `definition` may be unknown.
    pub(crate) async fn find_start(
        &self,
        definition: Option<&Name>,
        workflow_id: &str,
    ) -> Result<Option<Task>, StoreError> {
        let namespace = self.client.namespace();
        let definition = definition.map_or("*", Name::as_str);
        let shard = self.shard(workflow_id);
        let subject = format!("{namespace}.wf.{definition}.{shard}.start.{workflow_id}");
        let tasks = &self.of(workflow_id).tasks;
        let request = json!({ "last_by_subj": subject });
        let question = format!("STREAM.MSG.GET.{tasks}");
        let subject = format!("$JS.API.{question}");
        let asking = self.client.jetstream().request(question, &request);
        let answer: Response<Stored> = transport::unless_refused(&self.client, &subject, asking)
            .await?
            .map_err(|error| StoreError::Unavailable {
                reason: error.to_string(),
            })?;
        match answer {
            Response::Ok(stored) => Ok(stored.task()),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            Response::Err { error } => Err(StoreError::Refused {
                code: error.error_code().0,
                description: error.to_string(),
            }),
        }
    }

    pub(crate) async fn checkpoint(
        &self,
        workflow_id: &str,
        name: &Name,
    ) -> Result<Option<WorkflowCheckpoint>, StoreError> {
        let found = self.checkpoint_sized(workflow_id, name).await?;
        Ok(found.map(|(checkpoint, _)| checkpoint))
    }

    /// A checkpoint, and how many bytes it takes.
    pub(crate) async fn checkpoint_sized(
        &self,
        workflow_id: &str,
        name: &Name,
    ) -> Result<Option<(WorkflowCheckpoint, usize)>, StoreError> {
        let entry = self.checkpoint_entry(workflow_id, name).await?;
        // Something else under the key is no checkpoint of ours, nor is the mark of one that was deleted.
        let decoded = |body: Bytes| Some((WorkflowCheckpoint::decode(&body).ok()?, body.len()));
        Ok(entry.and_then(|entry| decoded(entry.value)))
    }

    /// What lies under a checkpoint's key; for an engine never old.
    async fn checkpoint_entry(
        &self,
        workflow_id: &str,
        name: &Name,
    ) -> Result<Option<Entry>, StoreError> {
        let key = format!("{workflow_id}.{name}");
        let bucket = &self.of(workflow_id).checkpoints;
        if !self.replicated {
            return bucket.read(&key).await;
        }
        match bucket.read_from_leader(&key).await {
            // Rights that were given before engines had this one.
            Err(StoreError::Denied { .. }) => bucket.read(&key).await,
            read => read,
        }
    }

    /// Keeps a checkpoint, unless it or a later one of the same name is there.
    pub(crate) async fn keep_checkpoint(
        &self,
        checkpoint: &WorkflowCheckpoint,
    ) -> Result<usize, StoreError> {
        let (id, name) = (checkpoint.workflow_id.as_str(), &checkpoint.name);
        let body = checkpoint.encode().map_err(|error| StoreError::Refused {
            code: 0,
            description: error.to_string(),
        })?;
        let size = body.len();
        let (key, bucket) = (format!("{id}.{name}"), &self.of(id).checkpoints);
        for _ in 0..MOST_LOOKS {
            let (revision, epoch) = self.latest(id, name).await?;
            if epoch >= Some(checkpoint.epoch) {
                return Ok(0);
            }
            match bucket.write(&key, revision, body.clone()).await {
                Ok(_) => return Ok(size),
                Err(WriteError::Store(error)) => return Err(error),
                // Somebody has kept or deleted one meanwhile: perhaps a later one.
                Err(_) => {}
            }
        }
        Err(contended())
    }

    /// Deletes the checkpoints of a name that are not newer than `epoch`: a deletion that comes late, of an engine that was
    /// replaced, leaves what was made since.
    pub(crate) async fn delete_checkpoint(
        &self,
        workflow_id: &str,
        name: &Name,
        epoch: u64,
    ) -> Result<(), StoreError> {
        let key = format!("{workflow_id}.{name}");
        let bucket = &self.of(workflow_id).checkpoints;
        for _ in 0..MOST_LOOKS {
            let (revision, latest) = self.latest(workflow_id, name).await?;
            if latest.is_none_or(|latest| latest > epoch) || bucket.purge_at(&key, revision).await?
            {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The revision of what lies under a checkpoint's key, 0 for nothing, and its epoch if it is a checkpoint.
    async fn latest(
        &self,
        workflow_id: &str,
        name: &Name,
    ) -> Result<(u64, Option<u64>), StoreError> {
        let entry = self.checkpoint_entry(workflow_id, name).await?;
        let Some(entry) = entry else {
            return Ok((0, None));
        };
        let checkpoint = WorkflowCheckpoint::decode(&entry.value).ok();
        Ok((entry.revision, checkpoint.map(|found| found.epoch)))
    }
}

/// A note about a workflow that is parked for want of a version: found by whoever brings that version.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) definition: Name,
    pub(crate) version: String,
    pub(crate) workflow_id: Token,
}

impl Parked {
    /// One for each workflow and version, however often it is parked.
    fn key(&self) -> String {
        format!(
            "{}.{}.parked.{}",
            self.definition, self.version, self.workflow_id
        )
    }

    fn of_key(definition: &Name, key: &str) -> Option<Self> {
        let (version, workflow_id) = key
            .strip_prefix(definition.as_str())?
            .strip_prefix('.')?
            .rsplit_once(".parked.")?;
        Some(Self {
            definition: definition.clone(),
            version: version.to_owned(),
            workflow_id: Token::new(workflow_id).ok()?,
        })
    }
}

impl Store {
    fn notes(&self) -> Bucket {
        let bucket = self.client.namespace().definitions_bucket();
        Bucket::new(&self.client, &bucket)
    }

    /// `epoch` is the write that parked it.
    pub(crate) async fn note_parked(&self, parked: &Parked, epoch: u64) -> Result<(), StoreError> {
        let key = parked.key();
        let body = json!({ "parked": parked.workflow_id }).to_string();
        let message_id = format!("{key}.{epoch}");
        self.notes().put(&key, &message_id, body.into()).await
    }

    /// Removes a note whose workflow does not wait any more, unless it is written anew meanwhile.
    pub(crate) async fn forget_parked(&self, parked: &Parked) -> Result<(), StoreError> {
        let key = parked.key();
        let Some(note) = self.notes().read(&key).await? else {
            return Ok(());
        };
        // After the look at the note: it may have been parked since it was looked at first.
        let still_waits = self.waiting(parked).await?.is_some();
        if !still_waits && !note.value.is_empty() {
            self.notes().delete_at(&key, note.revision).await?;
        }
        Ok(())
    }

    /// The record of a workflow that is parked for want of the version.
    pub(crate) async fn waiting(
        &self,
        parked: &Parked,
    ) -> Result<Option<Arc<WorkflowRecord>>, StoreError> {
        let found = self.read_fresh(parked.workflow_id.as_str()).await?;
        let record = found.map(|found| found.record);
        Ok(record.filter(|record| {
            record.status == WorkflowStatus::Parked && record.version == parked.version
        }))
    }

    /// The notes about a version of a definition, or about all.
    pub(crate) async fn parked(
        &self,
        definition: &Name,
        version: Option<&str>,
    ) -> Result<Vec<Parked>, StoreError> {
        let bucket = self.client.namespace().definitions_bucket();
        let mut found = Vec::new();
        let take = |key: &str, _: &[u8]| found.extend(Parked::of_key(definition, key));
        let filter = match version {
            Some(version) => format!("{definition}.{version}.parked.*"),
            None => format!("{definition}.>"),
        };
        transport::scan(&self.client, &bucket, &filter, take).await?;
        Ok(found)
    }
}

impl Store {
    /// Whether an engine has ever brought this definition.
    pub(crate) async fn knows(&self, definition: &Name) -> Result<bool, StoreError> {
        let bucket = self.client.namespace().definitions_bucket();
        let mut known = false;
        let take = |key: &str, _: &[u8]| known |= !key.contains(".parked.");
        transport::scan(&self.client, &bucket, &format!("{definition}.>"), take).await?;
        Ok(known)
    }
}

fn versioned(entry: &Entry) -> Result<Versioned, StoreError> {
    let record = WorkflowRecord::decode(&entry.value).map_err(|error| StoreError::Refused {
        code: 0,
        description: format!("the workflow record cannot be read: {error}"),
    })?;
    Ok(Versioned {
        record: Arc::new(record),
        revision: entry.revision,
    })
}

/// The answer of the server to the question for a stored message.
#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    subject: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
}

impl Stored {
    /// `None` for what is no task; its engine buries it.
    fn task(&self) -> Option<Task> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let body = Bytes::from(STANDARD.decode(&self.message.data).ok()?);
        let headers = STANDARD.decode(&self.message.hdrs).unwrap_or_default();
        let headers = String::from_utf8_lossy(&headers).to_ascii_lowercase();
        let format = match headers.contains("content-type: application/json") {
            true => Format::Json,
            false => Format::Msgpack,
        };
        Task::decode(format, &body, &self.message.subject).ok()
    }
}
