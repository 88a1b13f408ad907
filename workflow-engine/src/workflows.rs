//! Workflows from outside: create, query, signal, stop. Any agent and any client can drive any workflow.

mod ailments;
mod control;
mod create;
mod error;
mod filter;
mod list;
mod peek;

use mcp_runtime::{
    Client, McpError, Name, Token, code, topology,
    transport::{StoreError, server_now_ms, unless_refused},
};
use serde::Serialize;
use tokio::sync::OnceCell;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::{codes, refusal, started},
    record::WorkflowRecord,
    shape::WorkflowShape,
    store::Store,
    task::{Task, Verb},
};

pub use ailments::{Ailing, Ailment};
pub use control::ControlWorkflow;
pub use create::CreateWorkflow;
pub use error::WorkflowError;
pub use filter::WorkflowFilter;
pub use list::WorkflowPage;

/// The workflows of a namespace. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: mcp_runtime::Client) -> Result<(), mcp_workflow_engine::WorkflowError> {
/// use mcp_workflow_engine::Workflows;
///
/// let workflows = Workflows::new(&client);
/// let data = serde_json::json!({ "theme": "ocean" });
/// workflows.create_workflow("video", None, &data).id("video-17").await?;
/// workflows.signal_workflow("video-17", "approve", &()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Workflows {
    client: Client,
    known: Arc<Known>,
}

/// What is asked of the server once for a connection, not once for each workflow.
#[derive(Debug, Default)]
struct Known {
    shards: OnceCell<u16>,
    definitions: Mutex<Option<(Instant, Vec<Arc<WorkflowShape>>)>>,
}

/// How long a workflow is looked for on a server that does not answer, and the pause between two looks.
const READ_TIME: Duration = Duration::from_secs(20);
const READ_PAUSE: Duration = Duration::from_millis(200);

/// How long definitions are believed; one that is missing is asked for at once.
const BELIEVED: Duration = Duration::from_secs(5);

impl Workflows {
    /// Those that `client` can reach. Nothing is asked of the server yet.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            known: client.shared(),
        }
    }

    /// Starts a workflow: done once the server has stored it, whether an engine is there or not.
    ///
    /// `initial_state` is the definition's own where it is `None`. With an id of the caller's choice a start that is
    /// repeated finds the workflow that is there and returns it unchanged.
    pub fn create_workflow<'a>(
        &self,
        definition: &str,
        initial_state: impl Into<Option<&'a str>>,
        initial_data: impl Serialize,
    ) -> CreateWorkflow {
        CreateWorkflow::new(
            self.clone(),
            definition,
            initial_state.into(),
            &initial_data,
        )
    }

    /// A workflow as it stands; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the id is not valid or the server cannot be reached.
    pub async fn get_workflow(&self, id: &str) -> Result<Option<WorkflowRecord>, WorkflowError> {
        let begun_at = Instant::now();
        loop {
            match self.look(id).await {
                // A server that restarts is back in a moment.
                Err(WorkflowError::Transport { .. }) if begun_at.elapsed() < READ_TIME => {
                    tokio::time::sleep(READ_PAUSE).await;
                }
                looked => return looked,
            }
        }
    }

    async fn look(&self, id: &str) -> Result<Option<WorkflowRecord>, WorkflowError> {
        let id = token(id)?;
        let store = self.store().await?;
        if let Some(found) = store.read(id.as_str()).await? {
            return Ok(Some(Arc::unwrap_or_clone(found.record)));
        }
        // It exists as soon as its start is stored, and its record is written a little later.
        if let Some(start) = store.find_start(None, id.as_str()).await? {
            return Ok(Some(self.beginning(&start).await?));
        }
        // Between the two looks the start may have become a record, which a replica that lags behind does not have yet.
        let found = match store.read_from_leader(id.as_str()).await {
            // Rights that were given before clients had this one.
            Err(StoreError::Denied { .. }) => store.read(id.as_str()).await?,
            found => found?,
        };
        Ok(found.map(|found| Arc::unwrap_or_clone(found.record)))
    }

    /// Waits until a workflow has ended, and returns how; bound it with a time-out of your own. It looks at the record, at
    /// first every 20 ms and later every second: nobody is told when a follower goes away.
    ///
    /// # Errors
    /// When there is no workflow of this id, or the server cannot be reached.
    pub async fn wait_for_end(&self, id: &str) -> Result<WorkflowRecord, WorkflowError> {
        let mut pause = Duration::from_millis(20);
        loop {
            let found = self.get_workflow(id).await?;
            let Some(record) = found else {
                return Err(WorkflowError::NoSuchWorkflow { id: id.to_owned() });
            };
            if record.is_ended() {
                return Ok(record);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Workflows that match, the last updated first.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn list_workflows(
        &self,
        filter: &WorkflowFilter,
    ) -> Result<Vec<WorkflowRecord>, WorkflowError> {
        Ok(self.search_workflows(filter).await?.workflows)
    }

    /// As [`Workflows::list_workflows`], page by page: with [`WorkflowFilter::limit`] and [`WorkflowFilter::after`].
    ///
    /// Every record is looked at, on this side: no index slows down the workflows themselves.
    ///
    /// # Errors
    /// When the server cannot be reached, the cursor is none, or a field is asked for that no definition declares.
    pub async fn search_workflows(
        &self,
        filter: &WorkflowFilter,
    ) -> Result<WorkflowPage, WorkflowError> {
        if filter.searches_data() {
            filter.check(&self.definitions().await?)?;
        }
        list::search(&self.client, &self.store().await?, filter).await
    }

    /// Moves a workflow on to a state, which the definition must allow.
    pub fn transition_workflow(&self, id: &str, to: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Transition, id).towards(to)
    }

    /// Tells a workflow something; kept until it waits for it.
    pub fn signal_workflow(&self, id: &str, name: &str, data: impl Serialize) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Signal, id)
            .named(name)
            .data(data)
    }

    /// Ends a workflow after the state that runs.
    pub fn stop_workflow(&self, id: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Stop, id)
    }

    /// Lets a failed or parked workflow go on from its state; one that waits for a retry tries at once.
    pub fn resume_workflow(&self, id: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Resume, id)
    }

    /// Keeps a copy of a workflow's state and data under a name; the last eight of each name stay.
    pub fn create_workflow_checkpoint(&self, id: &str, name: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Checkpoint, id).named(name)
    }

    /// Sets a workflow back to the last checkpoint of a name, also one that has ended. It then goes on from there, and what
    /// it does is done anew.
    pub fn restore_workflow_checkpoint(&self, id: &str, name: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Restore, id).named(name)
    }

    /// Takes a workflow to another version of its definition that has its state, which is then entered anew.
    pub fn migrate_workflow(&self, id: &str, version: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::Migrate, id).onto_version(version)
    }

    /// Removes the checkpoints of a name.
    pub fn delete_workflow_checkpoint(&self, id: &str, name: &str) -> ControlWorkflow {
        ControlWorkflow::new(self, Verb::DeleteCheckpoint, id).named(name)
    }

    /// The checkpoints of a workflow, the oldest first.
    ///
    /// # Errors
    /// When the id is not valid or the server cannot be reached.
    pub async fn list_workflow_checkpoints(
        &self,
        id: &str,
    ) -> Result<Vec<WorkflowCheckpoint>, WorkflowError> {
        list::checkpoints(&self.client, &self.store().await?, &token(id)?).await
    }

    /// The definitions that engines have brought, by name and version.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn definitions(&self) -> Result<Vec<WorkflowShape>, WorkflowError> {
        list::definitions(&self.client).await
    }

    async fn store(&self) -> Result<Store, WorkflowError> {
        let namespace = self.client.namespace().as_str();
        let asking = || async {
            let subject = format!("$JS.API.STREAM.INFO.{namespace}_tasks_0");
            let asking = topology::workflow_shards(self.client.jetstream(), namespace);
            let shards = unless_refused(&self.client, &subject, asking).await?;
            shards.map_err(|error| WorkflowError::Transport {
                reason: error.to_string(),
            })
        };
        let shards = *self.known.shards.get_or_try_init(asking).await?;
        Ok(Store::new(&self.client, shards))
    }

    /// What a workflow is before anything has run.
    async fn beginning(&self, start: &Task) -> Result<WorkflowRecord, WorkflowError> {
        let shapes = self.versions(&start.definition).await?;
        let now_ms = match start.created_at {
            0 => server_now_ms(&self.client),
            created_at => created_at,
        };
        let origin = match &start.from {
            None => None,
            Some(from) => {
                let id = from.workflow_id.as_str();
                let found = self.store().await?.checkpoint(id, &from.checkpoint).await?;
                Some(found.ok_or_else(|| {
                    WorkflowError::refused(refusal(
                        codes::NO_SUCH_CHECKPOINT,
                        format!("`{id}` has no checkpoint `{}`", from.checkpoint),
                    ))
                })?)
            }
        };
        started(start, &shapes, origin.as_ref(), now_ms).map_err(WorkflowError::refused)
    }

    /// The known versions of a definition, the newest last.
    async fn versions(&self, definition: &Name) -> Result<Vec<Arc<WorkflowShape>>, WorkflowError> {
        let of = |all: &[Arc<WorkflowShape>]| -> Vec<Arc<WorkflowShape>> {
            let versions = all.iter().filter(|shape| shape.name == *definition);
            versions.cloned().collect()
        };
        let believed = match &*self.believed() {
            Some((asked_at, all)) if asked_at.elapsed() < BELIEVED => of(all),
            _ => Vec::new(),
        };
        if !believed.is_empty() {
            return Ok(believed);
        }
        let all = self.definitions().await?;
        let all: Vec<Arc<WorkflowShape>> = all.into_iter().map(Arc::new).collect();
        let versions = of(&all);
        if versions.is_empty() {
            let mut known: Vec<String> = all.iter().map(|shape| shape.name.to_string()).collect();
            known.dedup();
            return Err(WorkflowError::NoSuchDefinition {
                name: definition.to_string(),
                known,
            });
        }
        *self.believed() = Some((Instant::now(), all));
        Ok(versions)
    }

    fn believed(&self) -> MutexGuard<'_, Option<(Instant, Vec<Arc<WorkflowShape>>)>> {
        let known = &self.known.definitions;
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token(id: &str) -> Result<Token, WorkflowError> {
    Token::new(id).map_err(|error| WorkflowError::Invalid {
        reason: error.to_string(),
    })
}

fn name(text: &str) -> Result<Name, WorkflowError> {
    Name::new(text).map_err(|error| WorkflowError::Invalid {
        reason: error.to_string(),
    })
}

impl From<StoreError> for WorkflowError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Denied { subject } => {
                let message = format!("the server does not let this connection use {subject}");
                Self::refused(
                    McpError::permanent(code::PERMISSION_DENIED)
                        .message(message)
                        .detail("subject", subject),
                )
            }
            error => Self::Transport {
                reason: error.to_string(),
            },
        }
    }
}
