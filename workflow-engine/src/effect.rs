//! What a write of a record has to bring about outside of it.
//!
//! Effects are listed in the record until they are confirmed, and each has an id that is derived from the workflow: doing
//! it twice does no harm.

use mcp_runtime::{McpError, Name, Token};
use serde::{Deserialize, Serialize};

use crate::{
    record::{ChildEnd, ChildStart, Parent, WorkflowStatus},
    task::Task,
};

/// Effects of other tasks that a record carries on; the tasks that wrote them confirm them.
pub(crate) const MAX_PENDING: usize = 64;

/// An effect that is not known to be confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// Unique in the workflow.
    pub(crate) id: String,
    /// The task that confirms it before it is acknowledged.
    pub(crate) task: String,
    #[serde(flatten)]
    pub(crate) kind: EffectKind,
}

impl Effect {
    /// The write that asked for it: every id begins with its epoch.
    pub(crate) fn epoch(&self) -> u64 {
        let epoch = self.id.split('.').next();
        epoch
            .and_then(|epoch| epoch.parse().ok())
            .unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub(crate) enum EffectKind {
    Event(EventEffect),
    /// A `wake` task at a time.
    Timer {
        entry: u64,
        /// The attempt that ended when the wait began.
        attempt: u32,
        at_ms: u64,
    },
    /// The record as it is now becomes a checkpoint. Confirmed before the next write that changes it.
    Checkpoint {
        name: Name,
        epoch: u64,
    },
    /// Confirmed before the next write, too: that may make a checkpoint of the same name.
    DeleteCheckpoint {
        name: Name,
    },
    /// The start tasks of children. Confirmed before the next write: that may stop them.
    StartChildren {
        children: Vec<ChildStart>,
    },
    /// Stop tasks for children.
    StopChildren {
        children: Vec<(Token, Name)>,
        compensate: bool,
    },
    /// A child has ended.
    TellParent {
        parent: Parent,
        end: ChildEnd,
    },
    /// Parked: whoever brings this version is to hear of it.
    AwaitVersion {
        version: String,
    },
    /// A task that came by the inbox was refused, and nobody waits for an answer: it becomes a dead letter.
    Bury {
        task: Box<Task>,
        error: McpError,
    },
    /// The answer to a task that came by the inbox.
    Answer {
        request: String,
        reply_to: String,
        json: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<McpError>,
    },
}

impl EffectKind {
    /// Whether it has to be confirmed before the record is written again.
    pub(crate) const fn comes_first(&self) -> bool {
        matches!(
            self,
            Self::Checkpoint { .. } | Self::DeleteCheckpoint { .. } | Self::StartChildren { .. }
        )
    }
}

/// An event of a workflow's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventEffect {
    pub(crate) event: Happening,
    pub(crate) epoch: u64,
    pub(crate) state: Name,
    pub(crate) status: WorkflowStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<Name>,
}

/// What can happen to a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Happening {
    Started,
    Transitioned,
    Waiting,
    Completed,
    Failed,
    Stopped,
    Parked,
    Compensating,
    Checkpointed,
    Restored,
}

impl Happening {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Transitioned => "transitioned",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Parked => "parked",
            Self::Compensating => "compensating",
            Self::Checkpointed => "checkpointed",
            Self::Restored => "restored",
        }
    }
}
