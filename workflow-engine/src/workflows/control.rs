//! Everything that is done to a workflow that exists.

use std::{future::IntoFuture, time::Duration};

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, Raw,
    transport::{self, server_now_ms},
};
use serde::Serialize;

use crate::{
    record::WorkflowRecord,
    run::BoxFuture,
    task::{Task, Verb},
};

use super::{WorkflowError, Workflows, name, token};

/// How long an engine's answer is waited for when the caller says nothing else.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request to a workflow; nothing is sent before it is awaited. It is done when its effect is written, which for a
/// workflow in the middle of a state is when that state has ended.
#[must_use = "nothing is done before it is awaited"]
pub struct ControlWorkflow {
    workflows: Workflows,
    verb: Verb,
    id: String,
    to: Option<String>,
    name: Option<String>,
    version: Option<String>,
    data: Option<Result<Raw, String>>,
    expected_state: Option<String>,
    reason: Option<String>,
    compensate: bool,
    leave_children: bool,
    timeout: Duration,
}

impl ControlWorkflow {
    pub(super) fn new(workflows: &Workflows, verb: Verb, id: &str) -> Self {
        Self {
            workflows: workflows.clone(),
            verb,
            id: id.to_owned(),
            to: None,
            name: None,
            version: None,
            data: None,
            expected_state: None,
            reason: None,
            compensate: false,
            leave_children: false,
            timeout: TIMEOUT,
        }
    }

    pub(super) fn towards(mut self, state: &str) -> Self {
        self.to = Some(state.to_owned());
        self
    }

    pub(super) fn onto_version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Of a transition: data that are merged into the workflow's, by the keys of a map.
    pub fn data(mut self, data: impl Serialize) -> Self {
        self.data = Some(Raw::encode(&data).map_err(|error| error.to_string()));
        self
    }

    /// Of a transition: only from this state, else `STATE_MISMATCH`.
    pub fn expected_state(mut self, state: &str) -> Self {
        self.expected_state = Some(state.to_owned());
        self
    }

    /// Of a stop: why.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Of a stop: what is completed is undone first, by the compensations that its definition declares. The answer comes when
    /// that begins.
    pub fn compensate(mut self) -> Self {
        self.compensate = true;
        self
    }

    /// Of a stop: the workflows that it has started go on; else they are stopped, too.
    pub fn leave_children(mut self) -> Self {
        self.leave_children = true;
        self
    }

    /// How long the answer is waited for (default 30 s). The request stays stored when the time is over.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn send(self) -> Result<WorkflowRecord, WorkflowError> {
        let workflows = self.workflows.clone();
        let id = token(&self.id)?;
        let found = workflows.get_workflow(&self.id).await?;
        let Some(found) = found else {
            return Err(WorkflowError::NoSuchWorkflow { id: self.id });
        };
        let optional = |text: &Option<String>| text.as_deref().map(name).transpose();
        let now_ms = server_now_ms(&workflows.client);
        let mut task = Task::new(self.verb, found.definition, id, now_ms);
        task.to = optional(&self.to)?;
        task.name = optional(&self.name)?;
        task.expected_state = optional(&self.expected_state)?;
        task.version = self.version;
        task.reason = self.reason;
        task.compensate = self.compensate;
        task.leave_children = self.leave_children;
        let data = self.data.transpose();
        task.data = data.map_err(|reason| WorkflowError::Invalid {
            reason: format!("the data cannot be encoded: {reason}"),
        })?;
        workflows.request(task, self.timeout).await
    }
}

impl IntoFuture for ControlWorkflow {
    type Output = Result<WorkflowRecord, WorkflowError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Workflows {
    /// Stores a task and waits for the engine's answer.
    async fn request(
        &self,
        mut task: Task,
        timeout: Duration,
    ) -> Result<WorkflowRecord, WorkflowError> {
        let store = self.store().await?;
        let mut answer = transport::expect_answer(&self.client, &task.id);
        task.reply_to = Some(answer.reply_to().to_owned());
        let body = task.encode().map_err(|error| WorkflowError::Invalid {
            reason: error.to_string(),
        })?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", task.message_id());
        headers.insert("Content-Type", Format::Msgpack.content_type());
        let subject = store.task_subject(&task);
        transport::publish(&self.client, subject, headers, body, timeout).await?;
        let outcome = tokio::time::timeout(timeout, answer.outcome(&self.client)).await;
        let outcome = outcome.map_err(|_| WorkflowError::NoAnswer { waited: timeout })?;
        let result = outcome.map_err(|error| match error.code.as_str() {
            crate::core::codes::NO_SUCH_WORKFLOW => WorkflowError::NoSuchWorkflow {
                id: task.workflow_id.to_string(),
            },
            _ => WorkflowError::refused(error),
        })?;
        result.decode().map_err(|error| WorkflowError::Transport {
            reason: format!("the engine's answer cannot be read: {error}"),
        })
    }
}
