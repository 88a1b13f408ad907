//! Children, as a state starts and sees them.

use std::sync::{Arc, Mutex, PoisonError};

use mcp_runtime::{McpError, Name, Raw, Token, code};
use serde::{Serialize, de::DeserializeOwned};

use super::WorkflowContext;
use crate::{
    record::{Child, ChildStart, MAX_CHILDREN, WorkflowStatus},
    workflows::Workflows,
};

/// What a run of a state has started so far; it begins when the state's decision is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Started(Arc<Mutex<Vec<ChildStart>>>);

impl Started {
    pub(crate) fn take(&self) -> Vec<ChildStart> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, start: ChildStart) -> Result<(), McpError> {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if started.iter().any(|other| other.id == start.id) {
            return Err(invalid(format!(
                "two children have the label `{}`",
                start.label
            )));
        }
        if started.len() >= MAX_CHILDREN {
            return Err(invalid(format!(
                "a workflow can start {MAX_CHILDREN} children"
            )));
        }
        started.push(start);
        Ok(())
    }
}

fn invalid(reason: String) -> McpError {
    McpError::permanent(code::INVALID_PARAMETERS).message(reason)
}

impl<S> WorkflowContext<S> {
    /// Starts a workflow that belongs to this one, when this state's decision is written; returns its id, which is derived
    /// from this workflow, the entry, and the label of [`WorkflowContext::labelled`] (else the call's number). Its end is
    /// told to this workflow, which can wait for it; a stop of this workflow stops it.
    ///
    /// # Errors
    /// PERMANENT `INVALID_PARAMETERS` for what is no definition's name, for a label that was used before, or one of which no id
    /// can be made.
    pub fn start_child(&self, definition: &str, data: impl Serialize) -> Result<String, McpError> {
        self.start(definition, &data, false)
    }

    /// As [`WorkflowContext::start_child`], but a stop of this workflow leaves it alone.
    ///
    /// # Errors
    /// As [`WorkflowContext::start_child`].
    pub fn start_independent_child(
        &self,
        definition: &str,
        data: impl Serialize,
    ) -> Result<String, McpError> {
        self.start(definition, &data, true)
    }

    fn start(
        &self,
        definition: &str,
        data: &impl Serialize,
        independent: bool,
    ) -> Result<String, McpError> {
        let record = &self.scope.record;
        let label = self.next_label();
        // `--` stands between a parent and its children only.
        let id = format!(
            "{}--{}-{}",
            record.id,
            record.entry,
            label.replace("--", "-")
        );
        let id = Token::new(&id).map_err(|error| invalid(error.to_string()))?;
        let definition = Name::new(definition).map_err(|error| invalid(error.to_string()))?;
        let data = Raw::encode(data).map_err(|error| invalid(error.to_string()))?;
        let text = id.to_string();
        self.scope.started.push(ChildStart {
            id,
            definition,
            label,
            data,
            independent,
        })?;
        Ok(text)
    }

    /// The workflows that this one has started in earlier runs, the oldest first, and how they ended.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.scope.record.children
    }

    /// What a child that has completed leaves behind: its data.
    ///
    /// # Errors
    /// The child's own error where it failed; PERMANENT `STATE_MISMATCH` while it runs or when it was stopped; and when its data
    /// have another shape or cannot be read.
    pub async fn child_result<D: DeserializeOwned>(&self, child: &Child) -> Result<D, McpError> {
        let not_there = |what: &str| {
            McpError::permanent(code::STATE_MISMATCH)
                .message(format!("the child `{}` {what}", child.id))
        };
        match child.status {
            Some(WorkflowStatus::Completed) => {}
            Some(WorkflowStatus::Failed) => {
                let error = child.error.clone();
                return Err(error.unwrap_or_else(|| not_there("failed")));
            }
            Some(_) => return Err(not_there("was stopped")),
            None => return Err(not_there("is still under way")),
        }
        let data = match &child.data {
            Some(data) => data.clone(),
            None => {
                let workflows = Workflows::new(&self.scope.client);
                let found = workflows.get_workflow(child.id.as_str()).await?;
                found.ok_or_else(|| not_there("is gone"))?.data
            }
        };
        data.decode()
            .map_err(|error| invalid(format!("the data of the child `{}`: {error}", child.id)))
    }
}
