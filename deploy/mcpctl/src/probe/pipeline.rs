//! The workflow of the probe: `first`, `second`, `gate` (until somebody approves), `third`, `done`.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, SendError, StateRetry, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Probe;

/// What a pipeline is asked to do; anything else in its data stays as it is.
#[derive(Serialize, Deserialize)]
struct Task {
    /// How long each of the three states takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sleep_ms: Option<u64>,
    /// Which state fails, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail_state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail_times: Option<u32>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

pub(super) fn definition() -> Workflow<Probe> {
    let retry = || StateRetry::times(5).delay(Duration::from_millis(100));
    Workflow::new("probe_pipeline")
        .version("1")
        .state(
            "first",
            WorkflowState::run(first).to("second").retry(retry()),
        )
        .state(
            "second",
            WorkflowState::run(second).to("gate").retry(retry()),
        )
        .state("gate", WorkflowState::wait_for("approve").then("third"))
        .state("third", WorkflowState::run(third).to("done").retry(retry()))
        .state("done", WorkflowState::end())
}

async fn first(ctx: WorkflowContext<Probe>, task: Task) -> Result<Then, McpError> {
    step(ctx, &task, "second").await
}

async fn second(ctx: WorkflowContext<Probe>, task: Task) -> Result<Then, McpError> {
    step(ctx, &task, "gate").await
}

async fn third(ctx: WorkflowContext<Probe>, task: Task) -> Result<Then, McpError> {
    step(ctx, &task, "done").await
}

/// Takes its time, takes effect once, and fails as often as it was asked to.
async fn step(ctx: WorkflowContext<Probe>, task: &Task, next: &str) -> Result<Then, McpError> {
    let state = ctx.current_state();
    tokio::time::sleep(Duration::from_millis(task.sleep_ms.unwrap_or_default())).await;
    // Counted by attempts, which the record keeps: another instance goes on counting.
    if task.fail_state.as_deref() == Some(state)
        && ctx.attempt() <= task.fail_times.unwrap_or(u32::MAX)
    {
        return Err(McpError::temporary("PROBE_FAILED")
            .message(format!("`{state}` was asked to fail"))
            .detail("attempt", ctx.attempt()));
    }
    let key = format!("{}:{state}", ctx.workflow_id());
    let agent = ctx.agent().to_owned();
    let effect = ctx.send_command::<Value>(&agent, "effect", json!({ "key": key }));
    match effect.timeout(Duration::from_secs(120)).await {
        Ok(_) => {}
        // There is nowhere to write it down: the path is worth trying all the same.
        Err(SendError::Answered { error, .. }) if error.code == super::NO_EFFECTS_FILE => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Then::to(next))
}
