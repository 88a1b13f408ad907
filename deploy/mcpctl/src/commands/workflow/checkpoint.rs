//! `mcpctl workflow checkpoint`.

use clap::Args;
use mcp_agent_sdk::{Name, Workflows};

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Makes a checkpoint: a named copy of state and data. The last eight of each name are kept.
///
/// With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    target: Target,
    /// The checkpoint's name
    name: Name,
}

pub(super) async fn run(args: CheckpointArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let record = workflows
        .create_workflow_checkpoint(args.target.id.as_str(), args.name.as_str())
        .timeout(args.target.timeout)
        .await?;
    answered(&record, global)
}
