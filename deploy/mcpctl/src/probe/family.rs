//! The other workflows of the probe: `probe_family` does what can go wrong with several things at once, and undoes it.
//!
//! `spread` (three commands side by side), `start` (two children), `gather` (waits for them), `fail`; then `start` and
//! `spread` are undone. Each takes effect under a key of its own.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, StateRetry, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Probe;

/// What a family is asked to do.
#[derive(Serialize, Deserialize)]
struct Task {
    /// How long each state, each child and each compensation takes.
    #[serde(default)]
    sleep_ms: u64,
}

type Ctx = WorkflowContext<Probe>;

fn retry() -> StateRetry {
    StateRetry::times(5).delay(Duration::from_millis(100))
}

pub(super) fn definition() -> Workflow<Probe> {
    let spread = WorkflowState::run(spread).to("start").retry(retry());
    let start = WorkflowState::run(start).to("gather").retry(retry());
    Workflow::new("probe_family")
        .state("spread", spread.compensate(undo))
        .state("start", start.compensate(undo))
        .state("gather", WorkflowState::wait_for_children().then("fail"))
        .state("fail", WorkflowState::run(fail).to("done"))
        .state("done", WorkflowState::end())
}

pub(super) fn child() -> Workflow<Probe> {
    Workflow::new("probe_child")
        .state("work", WorkflowState::run(work).to("done").retry(retry()))
        .state("done", WorkflowState::end())
}

async fn spread(ctx: Ctx, task: Task) -> Result<Then, McpError> {
    take(&task).await;
    effects(&ctx, &["spread:a", "spread:b", "spread:c"]).await?;
    Ok(Then::to("start"))
}

async fn start(ctx: Ctx, task: Task) -> Result<Then, McpError> {
    take(&task).await;
    for label in ["one", "two"] {
        ctx.labelled(label).start_child("probe_child", &task)?;
    }
    Ok(Then::to("gather"))
}

async fn work(ctx: Ctx, task: Task) -> Result<Then, McpError> {
    take(&task).await;
    effects(&ctx, &["work"]).await?;
    Ok(Then::to("done"))
}

async fn fail(_: Ctx, task: Task) -> Result<Then, McpError> {
    take(&task).await;
    Err(McpError::permanent("PROBE_FAILED").message("`probe_family` always fails, to be undone"))
}

async fn undo(ctx: Ctx, task: Task) -> Result<(), McpError> {
    take(&task).await;
    let undone = format!("undo:{}", ctx.current_state());
    effects(&ctx, &[&undone]).await
}

async fn take(task: &Task) {
    tokio::time::sleep(Duration::from_millis(task.sleep_ms)).await;
}

/// Each under the key `<workflow-id>:<label>`; without an effects file nothing is written down.
pub(super) async fn effects(ctx: &Ctx, labels: &[&str]) -> Result<(), McpError> {
    let action = match ctx.state().effects {
        Some(_) => "effect",
        None => "echo",
    };
    let commands = labels.iter().map(|label| {
        let key = format!("{}:{label}", ctx.workflow_id());
        ctx.command::<Value>(label, ctx.agent(), action, json!({ "key": key }))
    });
    ctx.join_all(commands).await.map(drop)
}
