//! `mcpctl workflow stop`.

use clap::Args;
use mcp_agent_sdk::Workflows;

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Stops a workflow for good, and the workflows that it has started. A state that runs is finished first.
///
/// With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Undo what is completed first, by the compensations of its definition
    #[arg(long)]
    compensate: bool,
    /// Let the workflows that it has started go on
    #[arg(long)]
    leave_children: bool,
}

pub(super) async fn run(args: StopArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let mut stop = workflows
        .stop_workflow(args.target.id.as_str())
        .timeout(args.target.timeout);
    if let Some(reason) = &args.reason {
        stop = stop.reason(reason);
    }
    if args.compensate {
        stop = stop.compensate();
    }
    if args.leave_children {
        stop = stop.leave_children();
    }
    answered(&stop.await?, global)
}
