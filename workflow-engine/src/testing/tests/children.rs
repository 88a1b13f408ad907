//! Children end as the test says, and parents are stopped with theirs.

use std::time::Duration;

use mcp_runtime::{McpError, code};

use crate::{
    CompensationProgress, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
    testing::{WorkflowTest, WorkflowTestError},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn shoot(ctx: WorkflowContext, scenes: Vec<String>) -> Result<Then, McpError> {
    for scene in &scenes {
        ctx.labelled(scene).start_child("scene", scene)?;
    }
    Ok(Then::to("gather"))
}

async fn cut(ctx: WorkflowContext, _: Vec<String>) -> Result<Then, McpError> {
    let mut takes: Vec<String> = Vec::new();
    for child in ctx.children() {
        let take = ctx.child_result(child).await;
        takes.push(take.unwrap_or_else(|error: McpError| error.code));
    }
    Ok(Then::to("done").with(&takes))
}

async fn strike(_: WorkflowContext, _: Vec<String>) -> Result<(), McpError> {
    Ok(())
}

fn film() -> WorkflowTest {
    let gather = WorkflowState::wait_for_children().then("cut");
    let film = Workflow::new("film")
        .state(
            "shoot",
            WorkflowState::run(shoot).to("gather").compensate(strike),
        )
        .state("gather", gather.within(DAY, "late"))
        .state("cut", WorkflowState::run(cut).to("done"))
        .state("late", WorkflowState::manual().to("done"))
        .state("done", WorkflowState::end());
    WorkflowTest::new(film).data(&["sea", "storm"])
}

#[tokio::test]
async fn results_and_failures_come_back_whatever_dies() {
    let scene = |name: String| match name.as_str() {
        "storm" => Err(McpError::permanent("RAIN")),
        _ => Ok(format!("{name} at dawn")),
    };
    let test = film().child_with("scene", scene);
    let report = test.crash_at_every_step().await.unwrap();
    let run = report.run.assert_path(&["shoot", "gather", "cut", "done"]);
    assert_eq!(run.data::<Vec<String>>().unwrap(), ["sea at dawn", "RAIN"]);
    assert!(report.crashes >= 20, "{}", report.crashes);
}

#[tokio::test]
async fn children_that_hang_are_given_up_or_stopped() {
    let late = film().child_hangs("scene").run().await.unwrap();
    late.assert_path(&["shoot", "gather", "late"]);
    assert!(late.record.children.iter().all(crate::Child::is_running));

    let stopped = film().child_hangs("scene").stop_compensating("gather");
    let stopped = stopped.crash_at_every_step().await.unwrap().run;
    stopped.assert_status(WorkflowStatus::Stopped);
    let ends = stopped.record.children.iter().map(|child| child.status);
    assert!(ends.eq([Some(WorkflowStatus::Stopped); 2]));
    let steps = &stopped.record.compensation.unwrap().steps;
    assert_eq!(steps[0].progress, CompensationProgress::Done);
}

#[tokio::test]
async fn a_child_without_an_end_is_told() {
    let test = film().child("scenery", &());
    let error = test.run().await.unwrap_err();
    let says = error.to_string();
    assert!(
        matches!(&error, WorkflowTestError::UnscriptedChild { definition, .. } if definition == "scene"),
        "{says}"
    );
    assert!(
        says.contains(".child(\"scene\"") && says.contains("scenery"),
        "{says}"
    );
    let wrong = film().child_with("scene", |_: u32| Ok::<_, McpError>(()));
    let run = wrong.run().await.unwrap();
    let takes: Vec<String> = run.data().unwrap();
    assert_eq!(takes[0], code::INVALID_PARAMETERS);
}
