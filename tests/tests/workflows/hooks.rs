//! `on_enter` and `on_exit`: once for each entry, whoever decides to leave.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, StateRetry, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::path,
};

async fn enter(ctx: WorkflowContext<Journal>) -> Result<(), McpError> {
    ctx.state().note(format!("enter {}", ctx.current_state()));
    Ok(())
}

async fn exit(ctx: WorkflowContext<Journal>) -> Result<(), McpError> {
    ctx.state().note(format!("exit {}", ctx.current_state()));
    Ok(())
}

/// Fails once, then goes on.
async fn work(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    ctx.state().note(format!("work {}", ctx.attempt()));
    match ctx.attempt() {
        1 => Err(McpError::temporary("BUSY")),
        _ => Ok(Then::to("gate")),
    }
}

async fn refuse(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    ctx.state().note("refuse");
    Err(McpError::permanent("NEVER"))
}

fn hooked(state: WorkflowState<Journal>) -> WorkflowState<Journal> {
    state.on_enter(enter).on_exit(exit)
}

fn definition() -> Workflow<Journal> {
    let retry = StateRetry::times(2).delay(Duration::from_millis(20));
    let work = WorkflowState::run(work).to("gate").retry(retry);
    let gate = WorkflowState::wait_for("approve").then("desk");
    let desk = WorkflowState::manual().to("doomed").to("gate");
    let doomed = WorkflowState::run(refuse).to("end").on_error("end");
    Workflow::new("hooked")
        .state("work", hooked(work))
        .state("gate", hooked(gate))
        .state("desk", hooked(desk))
        .state("doomed", hooked(doomed))
        .state("end", hooked(WorkflowState::end()))
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_once_for_each_entry() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let author = Author::new().await?;
        let workflows = &author.workflows;
        let _engine = author.engine(definition()).await?;
        workflows
            .create_workflow("hooked", None, json!({}))
            .id("h")
            .await?;
        author
            .until("h", "it is at the gate", |record| {
                record.state.as_str() == "gate" && record.status == WorkflowStatus::Waiting
            })
            .await;
        // By a signal, then by a transition, then by an error.
        workflows.signal_workflow("h", "approve", json!({})).await?;
        author
            .until("h", "it is at the desk", |record| {
                record.state.as_str() == "desk" && record.status == WorkflowStatus::Waiting
            })
            .await;
        workflows.transition_workflow("h", "doomed").await?;
        let done = author.until_status("h", WorkflowStatus::Completed).await;
        assert_eq!(path(&done), ["work", "gate", "desk", "doomed", "end"]);
        let expected = [
            "enter work",
            "work 1",
            "work 2",
            "exit work",
            "enter gate",
            "exit gate",
            "enter desk",
            "exit desk",
            // An error leaves without the exit hook.
            "enter doomed",
            "refuse",
            "enter end",
        ];
        assert_eq!(author.journal.lines(), expected);
        Ok(())
    })
    .await
}

/// A stop and a restore leave without the exit hook; a restored state is entered anew.
#[tokio::test(flavor = "multi_thread")]
async fn stop_and_restore_run_no_exit_hook() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let author = Author::new().await?;
        let workflows = &author.workflows;
        let _engine = author.engine(definition()).await?;
        workflows
            .create_workflow("hooked", "gate", json!({}))
            .id("h")
            .await?;
        author.until_status("h", WorkflowStatus::Waiting).await;
        workflows.create_workflow_checkpoint("h", "here").await?;
        workflows.stop_workflow("h").await?;
        workflows.restore_workflow_checkpoint("h", "here").await?;
        author.until_status("h", WorkflowStatus::Waiting).await;
        workflows.restore_workflow_checkpoint("h", "here").await?;
        author
            .until("h", "it has been restored twice", |record| {
                record.history.len() == 2 && record.status == WorkflowStatus::Waiting
            })
            .await;
        assert_eq!(
            author.journal.lines(),
            ["enter gate", "enter gate", "enter gate"]
        );
        Ok(())
    })
    .await
}
