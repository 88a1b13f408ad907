//! The record of a workflow: everything that is known of it, in one value that is written as a whole.

mod children;
mod compensation;
mod progress;

pub use children::Child;
pub(crate) use children::{
    CHILD_ENDED, ChildEnd, ChildStart, ChildWait, MAX_CHILDREN, MAX_RESULT, Parent, ended_id,
};
pub(crate) use compensation::MAX_COMPENSATIONS;
pub use compensation::{Compensation, CompensationProgress, CompensationStep};
pub use progress::{CommandProgress, LabelProgress};

use mcp_runtime::{DecodeError, EncodeError, Format, McpError, Name, Raw, Token};
use serde::{Deserialize, Serialize};

use crate::{effect::Effect, task::Task};

/// How many changes of state a record remembers; older ones are in the events.
pub(crate) const MAX_HISTORY: usize = 128;

/// How many tasks a record remembers, to recognise one that is delivered again.
pub(crate) const MAX_TAKEN: usize = 64;

/// Where a workflow stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowStatus {
    /// A state is running, or about to.
    Running,
    /// Waits for a signal, a time, a retry or somebody's decision.
    Waiting,
    /// No engine knows its version of the definition.
    Parked,
    /// Came to a final state.
    Completed,
    /// A state failed for good, and there was no error state to go to.
    Failed,
    /// Was stopped.
    Stopped,
}

impl WorkflowStatus {
    /// Every status, the active ones first.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Waiting,
        Self::Parked,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
    ];

    /// Whether nothing happens any more by itself.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for WorkflowStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The task that drives a running workflow, and which delivery of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// The task's id.
    pub task: String,
    /// The delivery; whoever finds a higher one has been replaced.
    pub delivery: u64,
}

/// Something that was told to a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Signal {
    /// What it is about.
    pub name: Name,
    /// What there is to know.
    #[serde(default)]
    pub data: Raw,
    /// Unix milliseconds, by the server's clock.
    pub at: u64,
}

/// What a waiting workflow waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wait {
    /// Any of these signals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signals: Vec<Name>,
    /// Where a signal leads to; `None`: the state runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) then: Option<Name>,
    /// Unix milliseconds by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<u64>,
    /// Where the time leads to; `None`: the state runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) or_else: Option<Name>,
    /// Children; that they have ended leads where a signal would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) children: Option<ChildWait>,
    /// The next attempt of the same entry is waited for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) retry: bool,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The state that was left.
    pub from: Name,
    /// The state that was entered.
    pub to: Name,
    /// Why: `state` (its own decision), `transition`, `signal <name>`, `timer`, `children`, `error`, `restore`,
    /// `migrate`.
    pub trigger: String,
    /// Unix milliseconds, by the server's clock.
    pub at: u64,
}

/// Everything that is known of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowRecord {
    /// Unique in the namespace.
    pub id: Token,
    /// The definition it runs by.
    pub definition: Name,
    /// The version of the definition that it began with.
    pub version: String,
    /// The state it is in.
    pub state: Name,
    /// Where it stands as a whole.
    pub status: WorkflowStatus,
    /// What it works on.
    #[serde(default)]
    pub data: Raw,
    /// Counts the writes of this record.
    pub epoch: u64,
    /// Counts the entries into states; the same over the retries of one.
    pub entry: u64,
    /// Which attempt of this entry runs or ran last, from 1.
    pub attempt: u32,
    /// While it runs: who runs it.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// Tasks that came while it ran.
    #[serde(default)]
    pub inbox: Vec<Task>,
    /// The ids of the last tasks taken in.
    #[serde(default)]
    pub taken: Vec<String>,
    /// Signals that nobody has waited for yet.
    #[serde(default)]
    pub signals: Vec<Signal>,
    /// How long after `updated_at` it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_in_ms: Option<u64>,
    /// The last error of a state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<McpError>,
    /// Unix milliseconds, by the server's clock.
    pub created_at: u64,
    /// Unix milliseconds, by the server's clock.
    pub updated_at: u64,
    /// The path taken, the oldest first.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    /// Effects that are not known to be confirmed.
    #[serde(default)]
    pub(crate) pending: Vec<Effect>,
    /// The workflow that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Token>,
    /// The conversation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Why it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park_reason: Option<String>,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What is to be undone should it fail, and how far that has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// Of the state that runs: the commands that it sends side by side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<LabelProgress>,
    /// The workflows that it has started, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Whom it tells of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) child_of: Option<Parent>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<Wait>,
    /// The signal that woke it for this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received: Option<Signal>,
    /// Time woke it for this entry.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) timed_out: bool,
    /// The state of this entry has run, or at least its entry hook.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) entered: bool,
    /// What the status will be once the inbox is empty, or was before it was parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rest: Option<WorkflowStatus>,
    /// How often this entry was taken over from an engine that vanished.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) takeovers: u32,
}

impl WorkflowRecord {
    /// Decodes the workflow's data.
    ///
    /// # Errors
    /// When the data has another shape; the error names the field.
    pub fn data<D: serde::de::DeserializeOwned>(&self) -> Result<D, DecodeError> {
        self.data.decode()
    }

    /// Whether nothing happens any more by itself. A stop shows in the status while the last state still runs: then not
    /// yet.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.status.is_ended() && self.driver.is_none()
    }

    /// The signals that a waiting workflow waits for.
    pub fn waits_for(&self) -> impl Iterator<Item = &str> {
        let waiting = self.wait.iter().flat_map(|wait| &wait.signals);
        waiting.map(Name::as_str)
    }

    /// Whether it waits for workflows that it has started.
    #[must_use]
    pub fn waits_for_children(&self) -> bool {
        let wait = self.wait.as_ref();
        wait.is_some_and(|wait| wait.children.is_some())
    }

    /// Reads a record as it lies in the bucket.
    ///
    /// # Errors
    /// When it is no record of this version.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Format::Msgpack.decode(body)
    }

    /// The completed state that is being undone.
    #[must_use]
    pub fn compensates(&self) -> Option<&CompensationStep> {
        self.compensation.as_ref()?.current()
    }

    pub(crate) fn encode(&self) -> Result<bytes::Bytes, EncodeError> {
        Format::Msgpack.encode(self)
    }

    /// Whether a child has ended by what this record has heard, or is about to hear that it never began.
    pub(crate) fn knows_end_of(&self, child: &Token) -> bool {
        let mut children = self.children.iter();
        children.any(|known| known.id == *child && !known.is_running())
            || self.knows(&ended_id(child, 0))
    }

    /// Whether a task is part of it already.
    pub(crate) fn knows(&self, task: &str) -> bool {
        self.taken.iter().any(|taken| taken == task)
            || self.inbox.iter().any(|waiting| waiting.id == task)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
