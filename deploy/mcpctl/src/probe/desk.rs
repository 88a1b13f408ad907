//! The workflow `probe_desk`, in any version: `desk` (until somebody says where to go), `work`, `rest`, `done`.
//!
//! Leaving the desk has a hook, and the next two end with pauses that the server's timer ends: what `probe_pipeline` has none of.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, Workflow, WorkflowContext, WorkflowState, WorkflowTransitionResult as Then,
};
use serde::Deserialize;

use super::{Probe, family::effects};

/// How long the pauses are; the work may be left in its.
#[derive(Deserialize)]
struct Pauses {
    #[serde(default = "two_seconds")]
    work_ms: u64,
    #[serde(default = "two_seconds")]
    rest_ms: u64,
}

/// Too long for an engine to sleep through it.
fn two_seconds() -> u64 {
    2_000
}

pub(super) fn definition(version: &str) -> Workflow<Probe> {
    let desk = WorkflowState::manual().to("work").on_exit(leave);
    Workflow::new("probe_desk")
        .version(version)
        .state("desk", desk)
        .state("work", WorkflowState::run(work).to("rest").to("done"))
        .state("rest", WorkflowState::run(rest).to("done"))
        .state("done", WorkflowState::end())
}

async fn leave(ctx: WorkflowContext<Probe>) -> Result<(), McpError> {
    effects(&ctx, &["left"]).await
}

async fn work(ctx: WorkflowContext<Probe>, pauses: Pauses) -> Result<Then, McpError> {
    effects(&ctx, &["work"]).await?;
    Ok(Then::after(Duration::from_millis(pauses.work_ms)).then("done"))
}

async fn rest(_: WorkflowContext<Probe>, pauses: Pauses) -> Result<Then, McpError> {
    Ok(Then::after(Duration::from_millis(pauses.rest_ms)).then("done"))
}
