//! `mcpctl workflow restore`.

use clap::Args;
use mcp_agent_sdk::{Name, Workflows};

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Brings a workflow's state and data back as they were at the last checkpoint of a name, also when it has ended.
///
/// The workflow goes on from there: what it does then is done anew. With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    target: Target,
    /// The checkpoint's name
    name: Name,
}

pub(super) async fn run(args: RestoreArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let record = workflows
        .restore_workflow_checkpoint(args.target.id.as_str(), args.name.as_str())
        .timeout(args.target.timeout)
        .await?;
    answered(&record, global)
}
