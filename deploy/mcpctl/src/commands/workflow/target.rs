//! What the commands that change one workflow share: whom they mean, how long they wait, what they print.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::{WorkflowError, WorkflowRecord, Workflows, runtime::Token};
use serde_json::Value;

use super::status;
use crate::{cli::Global, failure::Failure, output};

/// One workflow, and how long an engine has to answer.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The workflow's id
    pub(super) id: Token,
    /// How long to wait for an engine's answer
    #[arg(long, env = "MCP_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration,
          value_name = "DURATION")]
    pub(super) timeout: Duration,
}

/// Prints the record that an engine answered with.
pub(super) fn answered(record: &WorkflowRecord, global: &Global) -> Result<(), Failure> {
    match global.json {
        true => output::json(&document(record)?),
        false => output::line(status::sentence(record)),
    }
    Ok(())
}

/// A record as `--json` shows it.
pub(super) fn document(record: &WorkflowRecord) -> Result<Value, Failure> {
    serde_json::to_value(record).map_err(|error| {
        Failure::answered(format!(
            "the data of workflow `{}` cannot be shown as JSON: {error}",
            record.id
        ))
        .remedy("`mcpctl workflow show` without --json shows the rest")
    })
}

/// A workflow that has to be there.
pub(super) async fn existing(workflows: &Workflows, id: &Token) -> Result<WorkflowRecord, Failure> {
    let found = workflows.get_workflow(id.as_str()).await?;
    found.ok_or_else(|| no_such(id))
}

pub(super) fn no_such(id: &Token) -> Failure {
    WorkflowError::NoSuchWorkflow { id: id.to_string() }.into()
}
