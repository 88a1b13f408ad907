//! `mcpctl workflow resume`.

use clap::Args;
use mcp_agent_sdk::Workflows;

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Lets a workflow that failed or was parked go on from its state, with fresh retries.
///
/// With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: ResumeArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let record = workflows
        .resume_workflow(args.target.id.as_str())
        .timeout(args.target.timeout)
        .await?;
    answered(&record, global)
}
