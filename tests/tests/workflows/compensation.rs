//! What is completed is undone in reverse when a workflow fails or is stopped so, each once, and the record says how far.

use std::time::Duration;

use mcp_agent_sdk::{
    CompensationProgress, McpError, StateRetry, Workflow, WorkflowContext, WorkflowRecord,
    WorkflowState, WorkflowStatus, WorkflowTransitionResult as Then,
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
};

const LIMIT: Duration = Duration::from_secs(60);

type Ctx = WorkflowContext<Journal>;

fn book(to: &'static str) -> WorkflowState<Journal> {
    let run = move |ctx: Ctx, trip: Value| async move {
        let state = ctx.current_state().to_owned();
        if trip["fails_at"] == state {
            return Err(McpError::permanent("FULL"));
        }
        ctx.state().note(format!("{} {state}", ctx.workflow_id()));
        Ok(Then::to(to))
    };
    let undo = |ctx: Ctx, trip: Value| async move {
        let state = ctx.current_state().to_owned();
        let booked = ctx.compensates().map(|step| step.entry);
        assert!(
            booked.is_some_and(|entry| entry < ctx.entry()),
            "an entry of its own"
        );
        let line = format!("{} undo {state} {}", ctx.workflow_id(), ctx.attempt());
        ctx.state().note(&line);
        if trip["hangs_at"] == state {
            ctx.cancelled().await;
        }
        // Until somebody mends it, which is what a resume is for.
        let noted = ctx.state().lines();
        let tried = noted.iter().filter(|noted| **noted == line).count();
        if trip["broken_at"] == state && tried == 1 {
            return Err(McpError::permanent("NO_REFUND"));
        }
        match trip["busy_at"] == state && ctx.attempt() == 1 {
            true => Err(McpError::temporary("BUSY")),
            false => Ok(()),
        }
    };
    let retry = StateRetry::times(3).delay(Duration::from_millis(20));
    WorkflowState::run(run)
        .to(to)
        .compensate(undo)
        .compensation_retry(retry)
}

fn trip() -> Workflow<Journal> {
    Workflow::new("trip")
        .state("flight", book("hotel"))
        .state("hotel", book("paid"))
        .state("paid", WorkflowState::wait_for("money").then("car"))
        .state("car", book("done"))
        .state("done", WorkflowState::end())
}

async fn go(author: &Author, id: &str, data: Value) -> TestResult {
    author
        .workflows
        .create_workflow("trip", None, data)
        .id(id)
        .await?;
    author
        .workflows
        .signal_workflow(id, "money", json!({}))
        .await?;
    Ok(())
}

/// `flight done, hotel failed`, as the record has it.
fn told(record: &WorkflowRecord) -> Vec<(&str, CompensationProgress)> {
    let compensation = record
        .compensation
        .as_ref()
        .expect("it has completed states");
    assert_eq!(compensation.ends_as, None, "it is over: {record:?}");
    let steps = compensation.steps.iter();
    steps
        .map(|step| (step.state.as_str(), step.progress))
        .collect()
}

fn lines(author: &Author, id: &str) -> Vec<String> {
    let own = format!("{id} ");
    let lines = author.journal.lines().into_iter();
    lines
        .filter_map(|line| line.strip_prefix(&own).map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_undoes_what_is_completed_in_reverse() -> TestResult {
    use CompensationProgress::{Done, Failed};
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engine(trip()).await?;
        go(
            &author,
            "full",
            json!({"fails_at": "car", "busy_at": "hotel"}),
        )
        .await?;
        let failed = author.until_status("full", WorkflowStatus::Failed).await;
        assert_eq!(
            failed.error.as_ref().map(|error| error.code.as_str()),
            Some("FULL")
        );
        assert_eq!(told(&failed), [("flight", Done), ("hotel", Done)]);
        let expected = [
            "flight",
            "hotel",
            "undo hotel 1",
            "undo hotel 2",
            "undo flight 1",
        ];
        assert_eq!(lines(&author, "full"), expected);
        let again = author.workflows.resume_workflow("full").await;
        assert_eq!(again.expect_err("all is undone").code(), "STATE_MISMATCH");

        // What cannot be undone is noted, and does not keep the others.
        go(
            &author,
            "odd",
            json!({"fails_at": "car", "broken_at": "hotel"}),
        )
        .await?;
        let failed = author.until_status("odd", WorkflowStatus::Failed).await;
        assert_eq!(told(&failed), [("flight", Done), ("hotel", Failed)]);
        let steps = &failed.compensation.as_ref().expect("it is there").steps;
        let error = steps[1].error.as_ref().map(|error| error.code.as_str());
        assert_eq!(error, Some("NO_REFUND"));
        author.workflows.resume_workflow("odd").await?;
        let mended = author
            .until("odd", "the hotel is undone, too", |record| {
                record.is_ended() && told(record) == [("flight", Done), ("hotel", Done)]
            })
            .await;
        assert_eq!(mended.status, WorkflowStatus::Failed);

        go(&author, "fine", json!({})).await?;
        author.until_status("fine", WorkflowStatus::Completed).await;
        assert_eq!(lines(&author, "fine"), ["flight", "hotel", "car"]);
        Ok(())
    })
    .await
}

/// The engine dies in the middle of a compensation, and another goes on with that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_compensation_survives_its_engine() -> TestResult {
    use CompensationProgress::Done;
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let first = author.engine(trip()).await?;
        let workflows = &author.workflows;
        let create = workflows.create_workflow("trip", None, json!({"hangs_at": "flight"}));
        create.id("w").await?;
        author.until_status("w", WorkflowStatus::Waiting).await;
        let stop = workflows.stop_workflow("w").compensate().reason("no money");
        let stopping = stop.await?;
        assert_eq!(
            stopping.compensates().map(|step| step.state.as_str()),
            Some("hotel")
        );
        author
            .until("w", "the flight's turn has come", |record| {
                record
                    .compensates()
                    .is_some_and(|step| step.state.as_str() == "flight")
            })
            .await;
        let late = workflows
            .signal_workflow("w", "money", json!({}))
            .timeout(Duration::from_secs(1));
        let hangs = late.await.is_err();
        drop(first);
        // Another engine's definition is mended.
        let second = author.engine(trip_that_ends()).await?;
        let stopped = author.until_status("w", WorkflowStatus::Stopped).await;
        assert!(hangs, "told while a compensation runs");
        assert_eq!(stopped.stop_reason.as_deref(), Some("no money"));
        assert_eq!(told(&stopped), [("flight", Done), ("hotel", Done)]);
        let lines = lines(&author, "w");
        let hotel = lines
            .iter()
            .filter(|line| line.starts_with("undo hotel"))
            .count();
        assert_eq!(hotel, 1, "what is undone is not undone again: {lines:?}");
        second.drain().await;
        Ok(())
    })
    .await
}

fn trip_that_ends() -> Workflow<Journal> {
    let undo = |ctx: Ctx, _: Value| async move {
        ctx.state()
            .note(format!("{} undo flight at last", ctx.workflow_id()));
        Ok(())
    };
    Workflow::new("trip")
        .state("flight", book("hotel").compensate(undo))
        .state("hotel", book("paid"))
        .state("paid", WorkflowState::wait_for("money").then("car"))
        .state("car", book("done"))
        .state("done", WorkflowState::end())
}
