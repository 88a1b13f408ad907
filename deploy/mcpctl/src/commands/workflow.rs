//! `mcpctl workflow`: durable state machines, from the outside.

mod changes;
mod checkpoint;
mod checkpoints;
mod clock;
mod definitions;
mod delete_checkpoint;
mod engines;
mod follow;
mod graph;
mod list;
mod migrate;
mod path;
mod restore;
mod resume;
mod schedule;
mod show;
mod signal;
mod start;
mod status;
mod stop;
mod target;
mod transition;
mod watch;

use clap::Subcommand;

use crate::{cli::Global, failure::Failure};

pub(super) use status::tone;

/// What can be done with workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Lists the definitions, and which engines run them
    Definitions(definitions::DefinitionsArgs),
    /// Starts a workflow
    Start(start::StartArgs),
    /// Lists workflows, the last changed first
    List(list::ListArgs),
    /// Shows one, and the path it has taken
    Show(show::ShowArgs),
    /// Follows one until it ends
    Watch(watch::WatchArgs),
    /// Moves one to another state
    Transition(transition::TransitionArgs),
    /// Tells one something that it waits for, or will
    Signal(signal::SignalArgs),
    /// Makes a checkpoint of state and data
    Checkpoint(checkpoint::CheckpointArgs),
    /// Lists the checkpoints of one, the oldest first
    Checkpoints(checkpoints::CheckpointsArgs),
    /// Brings state and data back as they were at a checkpoint
    Restore(restore::RestoreArgs),
    /// Deletes the checkpoints of a name
    DeleteCheckpoint(delete_checkpoint::DeleteCheckpointArgs),
    /// Lets a failed or parked one go on from its state
    Resume(resume::ResumeArgs),
    /// Takes one to another version of its definition
    Migrate(migrate::MigrateArgs),
    /// Stops one, after the state that runs
    Stop(stop::StopArgs),
    /// Starts workflows and sends commands by interval or cron
    Schedule(schedule::ScheduleArgs),
    /// Prints a definition as a Mermaid state diagram
    Graph(graph::GraphArgs),
}

// Boxed, because the largest command would otherwise be the size of them all.
pub(crate) async fn run(command: WorkflowCommand, global: &Global) -> Result<(), Failure> {
    match command {
        WorkflowCommand::Definitions(args) => Box::pin(definitions::run(args, global)).await,
        WorkflowCommand::Start(args) => Box::pin(start::run(args, global)).await,
        WorkflowCommand::List(args) => Box::pin(list::run(args, global)).await,
        WorkflowCommand::Show(args) => Box::pin(show::run(args, global)).await,
        WorkflowCommand::Watch(args) => Box::pin(watch::run(args, global)).await,
        WorkflowCommand::Transition(args) => Box::pin(transition::run(args, global)).await,
        WorkflowCommand::Signal(args) => Box::pin(signal::run(args, global)).await,
        WorkflowCommand::Checkpoint(args) => Box::pin(checkpoint::run(args, global)).await,
        WorkflowCommand::Checkpoints(args) => Box::pin(checkpoints::run(args, global)).await,
        WorkflowCommand::Restore(args) => Box::pin(restore::run(args, global)).await,
        WorkflowCommand::DeleteCheckpoint(args) => {
            Box::pin(delete_checkpoint::run(args, global)).await
        }
        WorkflowCommand::Resume(args) => Box::pin(resume::run(args, global)).await,
        WorkflowCommand::Migrate(args) => Box::pin(migrate::run(args, global)).await,
        WorkflowCommand::Stop(args) => Box::pin(stop::run(args, global)).await,
        WorkflowCommand::Schedule(args) => Box::pin(schedule::run(args, global)).await,
        WorkflowCommand::Graph(args) => Box::pin(graph::run(args, global)).await,
    }
}
