//! `mcpctl workflow migrate`.

use clap::Args;
use mcp_agent_sdk::Workflows;

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure};

/// Takes a workflow to another version of its definition, by that version's migration function where it has one for the
/// workflow's version; else as it is.
///
/// Its state is entered anew. A state that runs is finished first, and one that failed waits for a resume. What the
/// function refuses stays on its version. With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    target: Target,
    /// The version to go on with; an engine has to have it
    version: String,
}

pub(super) async fn run(args: MigrateArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let record = workflows
        .migrate_workflow(args.target.id.as_str(), &args.version)
        .timeout(args.target.timeout)
        .await?;
    answered(&record, global)
}
