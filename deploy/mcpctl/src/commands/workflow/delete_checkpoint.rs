//! `mcpctl workflow delete-checkpoint`.

use clap::Args;
use mcp_agent_sdk::{Name, Workflows};
use serde_json::json;

use super::target::Target;
use crate::{cli::Global, failure::Failure, output};

/// Deletes the checkpoints of a name. With --json the document is {"workflow_id", "deleted": the name}.
#[derive(Debug, Args)]
pub(crate) struct DeleteCheckpointArgs {
    #[command(flatten)]
    target: Target,
    /// The checkpoints' name
    name: Name,
}

pub(super) async fn run(args: DeleteCheckpointArgs, global: &Global) -> Result<(), Failure> {
    let (id, name) = (&args.target.id, &args.name);
    let workflows = Workflows::new(&global.connect().await?);
    workflows
        .delete_workflow_checkpoint(id.as_str(), name.as_str())
        .timeout(args.target.timeout)
        .await?;
    match global.json {
        true => output::json(&json!({ "workflow_id": id, "deleted": name })),
        false => output::line(format!("deleted the checkpoints `{name}` of {id}")),
    }
    Ok(())
}
