//! What is under way, and so what the next input means.

use std::time::Duration;

use mcp_runtime::McpError;

use crate::{checkpoint::WorkflowCheckpoint, core::advance::Ran};

/// What is under way, and so what the next input means.
#[derive(Debug)]
pub(super) enum Stage {
    /// The first read, or the one after somebody else has written.
    Reading {
        looked_for_start: bool,
    },
    FindingStart,
    /// A fork's checkpoint is read.
    FindingOrigin,
    /// It is of an earlier version than the fork is to have.
    MigratingOrigin(Box<WorkflowCheckpoint>),
    /// A write that leaves the rest to others.
    Appending,
    /// Foreign checkpoints are confirmed, then the task is applied.
    Preparing,
    /// The task is applied, and is being written.
    Applying,
    /// The task changes nothing, which an earlier delivery of it has to learn; perhaps it is refused.
    Declining(Option<McpError>),
    /// This delivery takes over from an earlier one.
    TakingOver(Takeover),
    /// The state runs.
    Running,
    /// How far it has come is being written, while it runs on.
    Noting,
    /// What that write brings with it is being begun.
    Noted,
    /// The record is read again: the note came too late for somebody else's write.
    RereadingNoting,
    /// Its result is being written.
    Advancing(Box<Ran>),
    /// The record is read again: somebody has put something into the inbox, or has taken over.
    Rereading(Option<Box<Ran>>),
    /// Tasks of the inbox are being written.
    TakingIn,
    /// Something is fetched that is needed for the next step.
    Fetching(Purpose),
    /// Whether another engine has the version.
    Asking,
    /// Whether another engine has the version that a migration in the inbox leads to.
    AskingForTarget(String),
    Parking,
    /// The workflow is given to another engine, after a while.
    Yielding(Duration),
    /// A write is done; its effects are being begun, or done where the next write has to wait for them.
    Effecting {
        wait: bool,
    },
    Answering,
    Sleeping,
    /// The last effects are being confirmed.
    Finishing,
}

/// What a fetched checkpoint or a run exit hook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Applying,
    TakingIn,
    GoingOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeover {
    Confirming,
    Writing,
}

/// How much of the inbox a write may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Plenty,
    OneTask,
    Nothing,
}

/// Whether a write may begin with a migration, which needs a draft by the version that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Migrations {
    First,
    Later,
}
