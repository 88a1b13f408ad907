//! `mcpctl workflow stop`.

use clap::Args;
use mcp_agent_sdk::Workflows;

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Stops a workflow for good. A state that runs is finished first.
///
/// With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(args: StopArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let mut stop = workflows
        .stop_workflow(args.target.id.as_str())
        .timeout(args.target.timeout);
    if let Some(reason) = &args.reason {
        stop = stop.reason(reason);
    }
    answered(&stop.await?, global)
}
