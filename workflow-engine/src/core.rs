//! The rules of workflows as pure functions: no clock, no network, no tasks of the runtime.
//!
//! `draft` is a record that is being changed; `apply` is what a task does to it, `advance` what the end of a state does; `drive`
//! is one delivery of one task from the first read to the acknowledgement. The shell in `engine` does what `drive` says,
//! and so do the simulations in the tests.

mod advance;
mod apply;
mod draft;
mod drive;
mod started;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod table;

pub(crate) use advance::{Next, Outcome, Ran};
pub(crate) use drive::{Action, Drive, End, Input, Versioned};
pub(crate) use started::{Shapes, started};

use mcp_runtime::{McpError, Name};

/// What a step cannot do without; the shell fetches it, and the step is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// The exit hook of the current state has to run.
    Exit,
    /// A checkpoint has to be read.
    Checkpoint(Name),
}

/// What has been fetched so far for a step.
#[derive(Debug, Default)]
pub(crate) struct Supplies {
    /// The entry whose exit hook has run.
    pub(crate) exited: Option<u64>,
    /// Checkpoints that were read.
    pub(crate) checkpoints: Vec<(Name, Option<crate::checkpoint::WorkflowCheckpoint>)>,
}

/// The error codes of workflows; all PERMANENT.
pub(crate) mod codes {
    pub(crate) const NO_SUCH_WORKFLOW: &str = "NO_SUCH_WORKFLOW";
    pub(crate) const NO_SUCH_STATE: &str = "NO_SUCH_STATE";
    pub(crate) const ILLEGAL_TRANSITION: &str = "ILLEGAL_TRANSITION";
    pub(crate) const NO_SUCH_CHECKPOINT: &str = "NO_SUCH_CHECKPOINT";
    pub(crate) const WORKFLOW_ENDED: &str = "WORKFLOW_ENDED";
    pub(crate) const WORKFLOW_EXISTS: &str = "WORKFLOW_EXISTS";
    pub(crate) const STATE_MISMATCH: &str = "STATE_MISMATCH";
}

pub(crate) fn refusal(code: &str, message: String) -> McpError {
    McpError::permanent(code).message(message)
}
