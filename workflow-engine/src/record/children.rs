//! The workflows that a workflow has started, and how they ended.

use mcp_runtime::{McpError, Name, Raw, Token};
use serde::{Deserialize, Serialize};

use super::WorkflowStatus;
use crate::task::{Task, Verb};

/// How many children a workflow may start in its life: each stays in its record.
pub(crate) const MAX_CHILDREN: usize = 256;

/// A child's data up to this size travel to its parent, in bytes; larger ones are read where they lie. 256 of them
/// fit a record twice.
pub(crate) const MAX_RESULT: usize = 2 * 1024;

/// The name of the signal by which a child tells its end.
pub(crate) const CHILD_ENDED: &str = "child_ended";

/// A workflow that this one has started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Child {
    /// Its id, derived from the parent's, the entry and the label.
    pub id: Token,
    /// Its definition.
    pub definition: Name,
    /// The author's label, else the call's number.
    pub label: String,
    /// How it ended; `None` as long as it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<WorkflowStatus>,
    /// Its data in the end, when they are small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Raw>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<McpError>,
    /// A stop of the parent does not stop it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub independent: bool,
    /// Which of its writes told the end.
    #[serde(default)]
    pub(crate) epoch: u64,
    /// A state of the parent has run since it ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) seen: bool,
}

impl Child {
    /// Whether it is still under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status.is_none()
    }
}

/// A child that is to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildStart {
    pub(crate) id: Token,
    pub(crate) definition: Name,
    pub(crate) label: String,
    pub(crate) data: Raw,
    #[serde(default)]
    pub(crate) independent: bool,
}

impl ChildStart {
    pub(crate) fn child(&self) -> Child {
        Child {
            id: self.id.clone(),
            definition: self.definition.clone(),
            label: self.label.clone(),
            status: None,
            data: None,
            error: None,
            independent: self.independent,
            epoch: 0,
            seen: false,
        }
    }
}

/// Whose child a workflow is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) workflow_id: Token,
    pub(crate) definition: Name,
}

/// What a child tells its parent: the data of the signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChildEnd {
    pub(crate) id: Token,
    /// Which of its writes: a child that was resumed ends again.
    pub(crate) epoch: u64,
    pub(crate) status: WorkflowStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<McpError>,
}

impl ChildEnd {
    /// The signal by which the parent hears of it.
    pub(crate) fn task(
        &self,
        definition: Name,
        parent: Token,
        now_ms: u64,
    ) -> Result<Task, String> {
        let mut task = Task::new(Verb::Signal, definition, parent, now_ms);
        task.id = ended_id(&self.id, self.epoch);
        task.name = Some(Name::new(CHILD_ENDED).map_err(|error| error.to_string())?);
        task.data = Some(Raw::encode(self).map_err(|error| error.to_string())?);
        Ok(task)
    }
}

/// The id of the task by which a child tells its end; with epoch 0 that it never began.
pub(crate) fn ended_id(child: &Token, epoch: u64) -> String {
    format!("{child}.{epoch}.ended")
}

/// Which children are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChildWait {
    /// Until none is under way.
    All,
    /// Until one has ended that no state has seen ended.
    Any,
    /// Until this one has ended.
    One(Token),
}

impl ChildWait {
    pub(crate) fn is_over(&self, children: &[Child]) -> bool {
        let none_runs = || !children.iter().any(Child::is_running);
        match self {
            Self::All => none_runs(),
            Self::Any => {
                let new = |child: &Child| !child.is_running() && !child.seen;
                children.iter().any(new) || none_runs()
            }
            Self::One(id) => !children
                .iter()
                .any(|child| child.id == *id && child.is_running()),
        }
    }
}
