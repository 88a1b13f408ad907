//! Waiting: retries, deadlines and delays are kept by the server, through the deaths of everything.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, StateRetry, Workflow, WorkflowContext, WorkflowRecord, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::{path, until_no_task_is_left},
};

const LIMIT: Duration = Duration::from_secs(90);

fn waits(record: &WorkflowRecord) -> bool {
    record.status == WorkflowStatus::Waiting
}

async fn third_time_lucky(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    ctx.state().note(format!("attempt {}", ctx.attempt()));
    match ctx.attempt() {
        1 | 2 => Err(McpError::temporary("BUSY")),
        _ => Ok(Then::to("end")),
    }
}

fn retried() -> Workflow<Journal> {
    let retry = StateRetry::times(5)
        .delay(Duration::from_millis(1500))
        .jitter(0.0);
    Workflow::new("retried")
        .state(
            "try",
            WorkflowState::run(third_time_lucky).to("end").retry(retry),
        )
        .state("end", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_while_survives_engine_and_server() -> TestResult {
    bounded(LIMIT, async {
        let mut author = Author::new().await?;
        let engine = author.engine(retried()).await?;
        author
            .workflows
            .create_workflow("retried", None, json!({}))
            .id("r")
            .await?;
        let first = author
            .until("r", "waits for its second attempt", waits)
            .await;
        assert_eq!(
            first.error.as_ref().map(|error| error.code.as_str()),
            Some("BUSY")
        );
        drop(engine);
        author.restart_server().await?;
        let _engine = author.engine(retried()).await?;
        let done = author.until_status("r", WorkflowStatus::Completed).await;
        assert_eq!(
            author.journal.lines(),
            ["attempt 1", "attempt 2", "attempt 3"]
        );
        let took = done.updated_at - first.updated_at;
        assert!(
            took >= 1500 + 3000,
            "the delays were not waited for: {took} ms"
        );
        assert!(done.error.is_none(), "{done:?}");
        until_no_task_is_left(&author.client).await;
        Ok(())
    })
    .await
}

async fn late(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    ctx.state()
        .note(format!("late {} {:?}", ctx.timed_out(), ctx.signal()));
    Ok(Then::to("end"))
}

async fn approved(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    let by = ctx.signal().map(|signal| signal.data.decode::<Value>());
    ctx.state()
        .note(format!("approved {} {:?}", ctx.timed_out(), by));
    Ok(Then::to("end"))
}

fn deadline() -> Workflow<Journal> {
    let gate = WorkflowState::wait_for("approve").then("approved");
    Workflow::new("deadline")
        .state("gate", gate.within(Duration::from_secs(10), "late"))
        .state("approved", WorkflowState::run(approved).to("end"))
        .state("late", WorkflowState::run(late).to("end"))
        .state("end", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_survives_engine_and_server_and_an_approval_is_in_time() -> TestResult {
    bounded(LIMIT, async {
        let mut author = Author::new().await?;
        let engine = author.engine(deadline()).await?;
        for id in ["nobody", "human"] {
            author
                .workflows
                .create_workflow("deadline", None, json!({}))
                .id(id)
                .await?;
        }
        let waiting = author.until("nobody", "waits", waits).await;
        author.until("human", "waits", waits).await;
        assert!(
            waiting
                .wake_in_ms
                .is_some_and(|ms| ms > 9000 && ms <= 10_000),
            "{waiting:?}"
        );
        drop(engine);
        author.restart_server().await?;
        let _engine = author.engine(deadline()).await?;
        let signal = author
            .workflows
            .signal_workflow("human", "approve", json!("Ada"));
        signal.await?;
        let human = author
            .until_status("human", WorkflowStatus::Completed)
            .await;
        assert_eq!(path(&human), ["gate", "approved", "end"]);
        assert_eq!(human.history[0].trigger, "signal approve");
        let nobody = author
            .until_status("nobody", WorkflowStatus::Completed)
            .await;
        assert_eq!(path(&nobody), ["gate", "late", "end"]);
        assert_eq!(nobody.history[0].trigger, "timer");
        let waited = nobody.history[0].at - waiting.updated_at;
        assert!(waited >= 10_000, "the deadline came after {waited} ms");
        // The timer of the one that was approved comes due as well, and changes nothing.
        until_no_task_is_left(&author.client).await;
        let lines = author.journal.lines();
        assert_eq!(
            lines,
            [
                r#"approved false Some(Ok(String("Ada")))"#,
                "late true None"
            ]
        );
        assert_eq!(
            path(
                &author
                    .until_status("human", WorkflowStatus::Completed)
                    .await
            )
            .len(),
            3
        );
        Ok(())
    })
    .await
}

async fn nap(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    ctx.state()
        .note(format!("nap {} {}", ctx.entry(), ctx.timed_out()));
    Ok(match ctx.timed_out() {
        false => Then::after(Duration::from_millis(1500)),
        true => Then::after(Duration::from_millis(1200))
            .then("ask")
            .with(&json!({"slept": 2})),
    })
}

/// Asks for a signal in the middle of a handler; the second time it is satisfied with the time.
async fn ask(ctx: WorkflowContext<Journal>, data: Value) -> Result<Then, McpError> {
    ctx.state().note(format!(
        "ask {} {} {data}",
        ctx.timed_out(),
        ctx.signal().is_some()
    ));
    Ok(
        match ctx.timed_out() && ctx.signal().is_none() && data["asked"] == json!(true) {
            true => Then::to("end"),
            false => Then::wait_for("go")
                .or_for("go_on")
                .within(Duration::from_millis(1100))
                .with(&json!({"asked": true})),
        },
    )
}

fn naps() -> Workflow<Journal> {
    Workflow::new("naps")
        .state("nap", WorkflowState::run(nap).to("ask"))
        .state("ask", WorkflowState::run(ask).to("end"))
        .state("end", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_asked_for_time_runs_again_after_it() -> TestResult {
    bounded(LIMIT, async {
        let mut author = Author::new().await?;
        let engine = author.engine(naps()).await?;
        let began = author.now_ms();
        author
            .workflows
            .create_workflow("naps", None, json!({}))
            .id("n")
            .await?;
        author.until("n", "naps", waits).await;
        drop(engine);
        author.restart_server().await?;
        let _engine = author.engine(naps()).await?;
        let done = author.until_status("n", WorkflowStatus::Completed).await;
        assert_eq!(path(&done), ["nap", "ask", "end"]);
        let lines = author.journal.lines();
        assert_eq!(lines[0], "nap 1 false", "{lines:?}");
        assert_eq!(lines[1], "nap 2 true", "{lines:?}");
        // A delay that leads on is the end of a wait, too; the state says by its data what it has done already.
        assert_eq!(lines[2], r#"ask true false {"slept":2}"#, "{lines:?}");
        assert_eq!(lines[3], r#"ask true false {"asked":true}"#, "{lines:?}");
        assert_eq!(lines.len(), 4, "{lines:?}");
        let took = done.updated_at - began;
        assert!(took >= 1500 + 1200 + 1100, "took only {took} ms");
        until_no_task_is_left(&author.client).await;
        Ok(())
    })
    .await
}
