//! The kit finds what it promises to find, and lets pass what is right.

mod children;
mod versions;

use std::time::Duration;

use mcp_runtime::McpError;

use super::{WorkflowTest, WorkflowTestError};
use crate::{
    StateRetry, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn write(ctx: WorkflowContext, topic: String) -> Result<Then, McpError> {
    let text: String = ctx.send_command("writer", "write", &topic).await?;
    ctx.publish("written", &text).await?;
    Ok(Then::to("review").with(&text))
}

/// As `write`, past the context: without a key.
async fn careless(ctx: WorkflowContext, topic: String) -> Result<Then, McpError> {
    let text: String = ctx.client().send_command("writer", "write", &topic).await?;
    Ok(Then::to("review").with(&text))
}

async fn wait_twice(ctx: WorkflowContext, rounds: u32) -> Result<Then, McpError> {
    match (ctx.timed_out(), rounds) {
        (true, 1) => Ok(Then::to("done")),
        (true, left) => Ok(Then::after(DAY).with(&(left - 1))),
        (false, _) => Ok(Then::after(DAY)),
    }
}

fn article(first: WorkflowState) -> Workflow {
    Workflow::new("article")
        .state(
            "draft",
            first.to("review").retry(StateRetry::times(2).delay(DAY)),
        )
        .state(
            "review",
            WorkflowState::wait_for("approved")
                .then("published")
                .within(7 * DAY, "forgotten"),
        )
        .state("published", WorkflowState::end())
        .state("forgotten", WorkflowState::end())
}

fn writing() -> WorkflowTest {
    WorkflowTest::new(article(WorkflowState::run(write)))
        .data("the sea")
        .answer_with("writer", "write", |topic: String| {
            Ok::<_, McpError>(format!("about {topic}"))
        })
}

#[tokio::test]
async fn time_passes_at_once_and_signals_come_in_time_or_not() {
    let check = |after: Duration, end: &'static str| async move {
        let test = writing().signal_after("review", after, "approved", &());
        let run = test.run().await.unwrap();
        run.assert_path(&["draft", "review", end]);
        assert_eq!(run.elapsed, after.min(7 * DAY));
        assert_eq!(run.data::<String>().unwrap(), "about the sea");
    };
    check(Duration::ZERO, "published").await;
    check(6 * DAY, "published").await;
    check(8 * DAY, "forgotten").await;
}

#[tokio::test]
async fn retries_and_delays_are_skipped() {
    let busy = || McpError::temporary("BUSY");
    let test = writing().fail_first("writer", "write", busy());
    let run = test
        .fail_first("writer", "write", busy())
        .run()
        .await
        .unwrap();
    assert_eq!(run.count("writer", "write"), 3);
    assert!(run.elapsed > DAY, "{:?}", run.elapsed);

    let waiting = Workflow::new("waiting")
        .state("wait", WorkflowState::run(wait_twice).to("done"))
        .state("done", WorkflowState::end());
    let run = WorkflowTest::new(waiting).data(&2).run().await.unwrap();
    run.assert_path(&["wait", "done"]);
    assert_eq!(run.elapsed, 2 * DAY);
}

#[tokio::test]
async fn a_workflow_that_goes_through_its_context_survives_every_crash() {
    let test = writing().signal("review", "approved", &());
    let report = test.crash_at_every_step().await.unwrap();
    assert!(report.crashes >= 20, "{}", report.crashes);
    report.run.assert_status(WorkflowStatus::Completed);
    assert_eq!((report.run.commands.len(), report.run.events.len()), (1, 1));
}

#[tokio::test]
async fn an_effect_that_a_crash_repeats_is_found() {
    let test = WorkflowTest::new(article(WorkflowState::run(careless)))
        .data("the sea")
        .answer("writer", "write", "waves")
        .signal("review", "approved", &());
    assert!(test.run().await.is_ok());
    let error = test.crash_at_every_step().await.unwrap_err();
    let WorkflowTestError::Differs { place, what, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(what, "what was done", "{error}");
    assert!(place.contains("writer.write"), "{error}");
}

#[tokio::test]
async fn mistakes_of_the_test_are_told() {
    let unscripted = WorkflowTest::new(article(WorkflowState::run(write))).data("x");
    let error = unscripted.run().await.unwrap_err().to_string();
    assert!(error.contains("`writer.write`"), "{error}");
    let nowhere = writing().transition("review", "nowhere").run().await;
    assert!(matches!(nowhere, Err(WorkflowTestError::Refused { .. })));
    let invalid: Workflow = Workflow::new("no states");
    let error = WorkflowTest::new(invalid).run().await.unwrap_err();
    assert!(matches!(error, WorkflowTestError::Definition(_)), "{error}");
}

#[tokio::test]
async fn a_stop_ends_it_and_a_wait_for_nobody_is_the_end_of_the_run() {
    let stopped = writing().stop("review").run().await.unwrap();
    stopped.assert_status(WorkflowStatus::Stopped);
    let manual = Workflow::new("manual")
        .state("desk", WorkflowState::manual().to("done"))
        .state("done", WorkflowState::end());
    let run = WorkflowTest::new(manual).run().await.unwrap();
    run.assert_status(WorkflowStatus::Waiting)
        .assert_path(&["desk"]);
}
