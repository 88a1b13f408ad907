//! States that fail: retries, the error state, or a failed workflow that somebody resumes.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, StateRetry, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then, code,
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::path,
};

const LIMIT: Duration = Duration::from_secs(60);

fn soon(times: u32) -> StateRetry {
    StateRetry::times(times).delay(Duration::from_millis(20))
}

/// Does what the workflow's data say: `fail`, `deny`, `hang`, `panic`, `stray` or `work`.
async fn act(ctx: WorkflowContext<Journal>, data: Value) -> Result<Then, McpError> {
    ctx.state()
        .note(format!("{} {}", ctx.entry(), ctx.attempt()));
    match data["how"].as_str().unwrap_or("work") {
        "fail" => Err(McpError::temporary("NO_INK").message("there is no ink")),
        "deny" => Err(McpError::permanent("NO_PAPER")),
        "hang" => {
            ctx.cancelled().await;
            Ok(Then::to("end"))
        }
        "panic" => panic!("a state was asked to panic"),
        "stray" => Ok(Then::to("cleanup")),
        _ => Ok(Then::to("end")),
    }
}

async fn cleanup(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    let error = ctx.error().map(|error| error.code.clone());
    ctx.state().note(format!("cleanup after {error:?}"));
    Ok(Then::to("gave_up"))
}

fn printing() -> WorkflowState<Journal> {
    WorkflowState::run(act)
        .to("end")
        .timeout(Duration::from_millis(300))
        .retry(soon(2))
}

/// Nothing leads out of a failure.
fn plain() -> Workflow<Journal> {
    Workflow::new("plain")
        .state("print", printing().to("print"))
        .state("end", WorkflowState::end())
        // Known, but not from `print`.
        .state("cleanup", WorkflowState::run(cleanup).to("gave_up"))
        .state("gave_up", WorkflowState::end())
        .state("lobby", WorkflowState::manual().to("print").to("cleanup"))
        .starts_at("lobby")
}

fn forgiving() -> Workflow<Journal> {
    Workflow::new("forgiving")
        .state("print", printing().on_error("cleanup"))
        .state("cleanup", WorkflowState::run(cleanup).to("gave_up"))
        .state("end", WorkflowState::end())
        .state("gave_up", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_fails_for_good_after_its_retries_and_the_error_is_kept() -> TestResult {
    let check = async |how: &str, code: &str, attempts: u32| -> TestResult {
        let author = Author::new().await?;
        let _engine = author.engine(plain()).await?;
        let data = json!({"how": how});
        author
            .workflows
            .create_workflow("plain", "print", &data)
            .id("p")
            .await?;
        let failed = author.until_status("p", WorkflowStatus::Failed).await;
        assert_eq!(failed.state.as_str(), "print", "{how}");
        assert_eq!(
            failed.error.as_ref().map(|error| error.code.as_str()),
            Some(code),
            "{how}"
        );
        let expected: Vec<String> = (1..=attempts).map(|n| format!("1 {n}")).collect();
        assert_eq!(author.journal.lines(), expected, "{how}");

        // Whoever resumes it as it is sees it fail again, in a new entry with attempts of its own.
        let resumed = author.workflows.resume_workflow("p").await?;
        assert!(
            resumed.entry == 2 && resumed.status == WorkflowStatus::Running,
            "{resumed:?}"
        );
        author
            .until("p", "it fails again", |record| {
                record.entry == 2 && record.status == WorkflowStatus::Failed
            })
            .await;
        assert_eq!(author.journal.lines().len(), 2 * attempts as usize, "{how}");
        Ok(())
    };
    bounded(LIMIT, async {
        tokio::try_join!(
            check("fail", "NO_INK", 3),
            check("deny", "NO_PAPER", 1),
            check("hang", code::TIMEOUT, 3),
            check("panic", code::HANDLER_PANICKED, 3),
            check("stray", "ILLEGAL_TRANSITION", 1),
        )?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_state_takes_over_and_sees_the_error() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engine(forgiving()).await?;
        let data = json!({"how": "fail"});
        author
            .workflows
            .create_workflow("forgiving", None, &data)
            .id("f")
            .await?;
        let done = author.until_status("f", WorkflowStatus::Completed).await;
        assert_eq!(path(&done), ["print", "cleanup", "gave_up"]);
        assert_eq!(done.history[0].trigger, "error");
        let lines = author.journal.lines();
        assert_eq!(
            lines,
            ["1 1", "1 2", "1 3", r#"cleanup after Some("NO_INK")"#]
        );
        Ok(())
    })
    .await
}

/// Its cause is gone: the workflow goes on from its state.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_workflow_that_is_resumed_goes_on() -> TestResult {
    async fn flaky(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
        ctx.state().note("ran");
        match ctx.state().lines().len() {
            1 => Err(McpError::permanent("NO_INK")),
            _ => Ok(Then::complete().with(&json!({"printed": true}))),
        }
    }
    let definition = || {
        let print = WorkflowState::run(flaky).completes();
        Workflow::new("flaky").state("print", print)
    };
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engine(definition()).await?;
        author
            .workflows
            .create_workflow("flaky", None, json!({}))
            .id("f")
            .await?;
        author.until_status("f", WorkflowStatus::Failed).await;
        author.workflows.resume_workflow("f").await?;
        let done = author.until_status("f", WorkflowStatus::Completed).await;
        assert!(done.error.is_none(), "{done:?}");
        assert_eq!(done.data::<Value>()?, json!({"printed": true}));
        let again = author.workflows.resume_workflow("f").await.unwrap_err();
        assert_eq!(again.code(), "WORKFLOW_ENDED");
        Ok(())
    })
    .await
}
