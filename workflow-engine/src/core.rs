//! The rules of workflows as pure functions: no clock, no network, no tasks of the runtime.
//!
//! `draft` is a record that is being changed; `apply` is what a task does to it, `advance` what the end of a state does, `compensate` how
//! completed states are undone; `drive`
//! is one delivery of one task from the first read to the acknowledgement. The shell in `engine` does what `drive` says,
//! and so do the simulations in the tests.

mod advance;
mod apply;
mod children;
mod compensate;
mod draft;
mod drive;
#[cfg(test)]
mod simulation;
mod started;
#[cfg(test)]
mod table;

pub(crate) use advance::{Next, Outcome, Ran};
pub(crate) use draft::ended_attempt;
pub(crate) use drive::{Action, Drive, End, Input, Versioned};
pub(crate) use started::{Shapes, started};

pub(crate) use mcp_runtime::code as codes;
use mcp_runtime::{McpError, Name, Raw, Token};

/// What a step cannot do without; the shell fetches it, and the step is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// The exit hook of the current state has to run.
    Exit,
    /// A checkpoint has to be read.
    Checkpoint(Name),
    /// The migration function of a version has to run.
    Migration { former: Box<Former>, to: String },
}

/// What a migration function is given: a workflow, or a checkpoint of it, as an earlier version left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former {
    pub(crate) id: Token,
    pub(crate) version: String,
    pub(crate) state: Name,
    pub(crate) data: Raw,
}

/// What a migration function has made of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Migrated {
    pub(crate) state: Name,
    pub(crate) data: Raw,
}

/// What has been fetched so far for a step.
#[derive(Debug, Default)]
pub(crate) struct Supplies {
    /// The entry whose exit hook has run.
    pub(crate) exited: Option<u64>,
    /// Checkpoints that were read.
    pub(crate) checkpoints: Vec<(Name, Option<crate::checkpoint::WorkflowCheckpoint>)>,
    /// What a migration function was given, and what came of it.
    pub(crate) migrated: Option<(Former, Result<Migrated, McpError>)>,
}

pub(crate) fn refusal(code: &str, message: String) -> McpError {
    McpError::permanent(code).message(message)
}
