//! Workflows through an agent's eyes.

use mcp_runtime::McpError;
use mcp_workflow_engine::{
    ControlWorkflow, CreateWorkflow, WorkflowCheckpoint, WorkflowError, WorkflowFilter,
    WorkflowRecord, Workflows,
};
use serde::Serialize;

use crate::context::Context;

impl<S> Context<S> {
    /// Every workflow of the namespace, for what the methods below do not cover.
    #[must_use]
    pub fn workflows(&self) -> Workflows {
        Workflows::new(self.client())
    }

    /// Starts a workflow in this conversation and trace; see [`Workflows::create_workflow`].
    ///
    /// ```no_run
    /// use mcp_agent_sdk::{Context, McpError};
    /// # #[derive(serde::Serialize)] struct Order { theme: String }
    /// async fn order(ctx: Context, theme: String) -> Result<String, McpError> {
    ///     let id = format!("video-{}", ctx.message_id());
    ///     ctx.create_workflow("video", None, &Order { theme }).id(&id).await?;
    ///     Ok(id)
    /// }
    /// ```
    pub fn create_workflow<'a>(
        &self,
        name: &str,
        initial_state: impl Into<Option<&'a str>>,
        initial_data: impl Serialize,
    ) -> CreateWorkflow {
        let workflow = self
            .workflows()
            .create_workflow(name, initial_state, initial_data);
        let workflow = workflow.trace(self.trace().clone());
        match self.conversation_id() {
            Some(conversation) => workflow.conversation(conversation),
            None => workflow,
        }
    }

    /// A workflow as it stands; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the id is not valid or the server cannot be reached.
    pub async fn get_workflow(&self, id: &str) -> Result<Option<WorkflowRecord>, WorkflowError> {
        self.workflows().get_workflow(id).await
    }

    /// Workflows that match, the last updated first.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn list_workflows(
        &self,
        filter: &WorkflowFilter,
    ) -> Result<Vec<WorkflowRecord>, WorkflowError> {
        self.workflows().list_workflows(filter).await
    }

    /// Moves a workflow on to a state, which its definition must allow.
    pub fn transition_workflow(&self, id: &str, to: &str) -> ControlWorkflow {
        self.workflows().transition_workflow(id, to)
    }

    /// Tells a workflow something; kept until it waits for it.
    pub fn signal_workflow(&self, id: &str, name: &str, data: impl Serialize) -> ControlWorkflow {
        self.workflows().signal_workflow(id, name, data)
    }

    /// Ends a workflow after the state that runs.
    pub fn stop_workflow(&self, id: &str) -> ControlWorkflow {
        self.workflows().stop_workflow(id)
    }

    /// Keeps a copy of a workflow's state and data under a name.
    pub fn create_workflow_checkpoint(&self, id: &str, name: &str) -> ControlWorkflow {
        self.workflows().create_workflow_checkpoint(id, name)
    }

    /// Sets a workflow back to the last checkpoint of a name.
    pub fn restore_workflow_checkpoint(&self, id: &str, name: &str) -> ControlWorkflow {
        self.workflows().restore_workflow_checkpoint(id, name)
    }

    /// The checkpoints of a workflow, the oldest first.
    ///
    /// # Errors
    /// When the id is not valid or the server cannot be reached.
    pub async fn list_workflow_checkpoints(
        &self,
        id: &str,
    ) -> Result<Vec<WorkflowCheckpoint>, WorkflowError> {
        self.workflows().list_workflow_checkpoints(id).await
    }
}

/// `?` in a handler keeps the code of a workflow's error; see [`WorkflowError`].
const _: fn(WorkflowError) -> McpError = McpError::from;
