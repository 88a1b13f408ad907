//! `mcpctl workflow checkpoints`.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::{WorkflowCheckpoint, Workflows, runtime::Token};
use serde_json::json;

use super::{clock, target::existing};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age, utc},
};

/// Lists the checkpoints of a workflow, the oldest first; up to eight of a name.
///
/// With --json the document is {"checkpoints": [{workflow_id, name, epoch, state, data, created_at}]}.
#[derive(Debug, Args)]
pub(crate) struct CheckpointsArgs {
    /// The workflow's id
    id: Token,
}

pub(super) async fn run(args: CheckpointsArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let workflows = Workflows::new(&client);
    let checkpoints = workflows
        .list_workflow_checkpoints(args.id.as_str())
        .await?;
    if checkpoints.is_empty() {
        // None of a workflow that is not there is another answer.
        existing(&workflows, &args.id).await?;
    }
    if global.json {
        let document = serde_json::to_value(&checkpoints).map_err(|error| {
            Failure::answered(format!("the data cannot be shown as JSON: {error}"))
        })?;
        output::json(&json!({ "checkpoints": document }));
    } else if checkpoints.is_empty() {
        output::note(format!(
            "none yet; make one with `mcpctl workflow checkpoint {} NAME`",
            args.id
        ));
    } else {
        output::line(table(&checkpoints, clock::now_ms(&client).await?).render());
    }
    Ok(())
}

fn table(checkpoints: &[WorkflowCheckpoint], now_ms: u64) -> Table {
    let mut table = Table::new(&["name", "state", "epoch", "made", "age"]);
    for checkpoint in checkpoints {
        let old = Duration::from_millis(now_ms.saturating_sub(checkpoint.created_at));
        table.row([
            Cell::toned(Tone::Strong, checkpoint.name.as_str()),
            checkpoint.state.as_str().into(),
            checkpoint.epoch.to_string().into(),
            utc(checkpoint.created_at).into(),
            age(old).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_all_about_a_checkpoint() {
        let checkpoint: WorkflowCheckpoint = serde_json::from_value(json!({
            "workflow_id": "order-17", "name": "before_edit", "epoch": 7, "state": "gate", "created_at": 1_000,
        }))
        .unwrap();
        let text = table(&[checkpoint], 61_000).render();
        assert_eq!(
            text.lines().nth(1),
            Some("before_edit  gate   7      1970-01-01 00:00:01.000Z  1m")
        );
    }
}
