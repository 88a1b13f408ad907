//! Starting a workflow.

use std::{future::IntoFuture, time::Duration};

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, Raw, Token, TraceContext,
    transport::{self, new_message_id, server_now_ms},
};
use serde::Serialize;

use crate::{
    record::WorkflowRecord,
    run::BoxFuture,
    task::{Origin, Task, Verb},
};

use super::{WorkflowError, Workflows, name, token};

/// How long storing a start is tried.
const STORE_TIME: Duration = Duration::from_secs(30);

/// A workflow to be started; nothing is sent before it is awaited.
#[must_use = "nothing is started before it is awaited"]
pub struct CreateWorkflow {
    workflows: Workflows,
    definition: String,
    state: Option<String>,
    data: Result<Raw, String>,
    id: Option<String>,
    version: Option<String>,
    conversation: Option<String>,
    trace: Option<TraceContext>,
    from: Option<(String, String)>,
}

impl CreateWorkflow {
    pub(super) fn new(
        workflows: Workflows,
        definition: &str,
        state: Option<&str>,
        data: &impl Serialize,
    ) -> Self {
        Self {
            workflows,
            definition: definition.to_owned(),
            state: state.map(str::to_owned),
            data: Raw::encode(data).map_err(|error| error.to_string()),
            id: None,
            version: None,
            conversation: None,
            trace: None,
            from: None,
        }
    }

    /// The workflow's id, unique in the namespace (default: a new one). Repeating a start with the same id is harmless.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Begins with state and data of another workflow's checkpoint; the data given here go over them, by the keys of a
    /// map.
    pub fn fork_of(mut self, workflow_id: &str, checkpoint: &str) -> Self {
        self.from = Some((workflow_id.to_owned(), checkpoint.to_owned()));
        self
    }

    /// The version of the definition (default: the newest that the engine has).
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// The conversation that the workflow and its commands belong to.
    pub fn conversation(mut self, id: impl Into<String>) -> Self {
        self.conversation = Some(id.into());
        self
    }

    /// The trace that it continues.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    fn task(self, now_ms: u64) -> Result<(Workflows, Task), WorkflowError> {
        let id = match &self.id {
            Some(id) => token(id)?,
            None => Token::new(&new_message_id()).map_err(|error| WorkflowError::Invalid {
                reason: error.to_string(),
            })?,
        };
        let mut task = Task::new(Verb::Start, name(&self.definition)?, id, now_ms);
        task.state = self.state.as_deref().map(name).transpose()?;
        task.data = Some(self.data.map_err(|reason| WorkflowError::Invalid {
            reason: format!("the data cannot be encoded: {reason}"),
        })?);
        if let Some((workflow_id, checkpoint)) = &self.from {
            task.from = Some(Origin {
                workflow_id: token(workflow_id)?,
                checkpoint: name(checkpoint)?,
            });
        }
        task.version = self.version;
        task.conversation_id = self.conversation;
        let trace = self.trace.unwrap_or_else(TraceContext::current);
        task.traceparent = trace.traceparent().map(str::to_owned);
        Ok((self.workflows, task))
    }
}

impl IntoFuture for CreateWorkflow {
    type Output = Result<WorkflowRecord, WorkflowError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let now_ms = server_now_ms(&self.workflows.client);
            let (workflows, task) = self.task(now_ms)?;
            workflows.start(task).await
        })
    }
}

impl Workflows {
    async fn start(&self, mut task: Task) -> Result<WorkflowRecord, WorkflowError> {
        // Looks first, and patiently: from here on the server is there.
        let mut existing = self.get_workflow(task.workflow_id.as_str()).await?;
        let store = self.store().await?;
        // Mistakes are found here rather than among the dead letters.
        let beginning = self.beginning(&task).await?;
        // An engine without the version could only guess where that begins.
        if let Some(version) = task.version.clone().filter(|_| task.from.is_none()) {
            let versions = self.versions(&task.definition).await?;
            let pinned = versions.iter().find(|shape| shape.version == version);
            let initial = pinned.map(|shape| shape.initial.clone());
            task.state = task.state.or(initial);
        }
        let body = task.encode().map_err(|error| WorkflowError::Invalid {
            reason: error.to_string(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", task.message_id());
        headers.insert("Content-Type", Format::Msgpack.content_type());
        // A start of the same workflow that still waits or runs, recognised also when the stream has forgotten its id.
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        let subject = store.task_subject(&task);
        let id = task.workflow_id.as_str();
        if existing.is_none() {
            let stored = transport::publish(&self.client, subject, headers, body, STORE_TIME).await;
            let known = match stored {
                Ok(duplicate) => duplicate,
                Err(error) if error.is_conflict() => true,
                Err(error) => return Err(error.into()),
            };
            if known {
                existing = self.get_workflow(id).await?;
                let refused = || WorkflowError::Invalid {
                    reason: format!(
                        "a start of `{id}` was refused a moment ago; it lies among the dead letters, choose another id"
                    ),
                };
                existing = Some(existing.ok_or_else(refused)?);
            }
        }
        match existing {
            Some(record) if record.definition != task.definition => {
                Err(WorkflowError::refused(crate::core::refusal(
                    crate::core::codes::WORKFLOW_EXISTS,
                    format!("`{id}` is a workflow of `{}`", record.definition),
                )))
            }
            Some(record) => Ok(record),
            None => Ok(beginning),
        }
    }
}
