//! `mcpctl workflow signal`.

use clap::Args;
use mcp_agent_sdk::{Name, Workflows};

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure, parameters::Parameters};

/// Tells a workflow something. A signal that it does not wait for yet is kept until it does.
///
/// With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    #[command(flatten)]
    target: Target,
    /// The signal's name
    name: Name,
    #[command(flatten)]
    data: Parameters,
}

pub(super) async fn run(args: SignalArgs, global: &Global) -> Result<(), Failure> {
    let data = args.data.read()?;
    let workflows = Workflows::new(&global.connect().await?);
    let record = workflows
        .signal_workflow(args.target.id.as_str(), args.name.as_str(), &data)
        .timeout(args.target.timeout)
        .await?;
    answered(&record, global)
}
