//! Testing a workflow without a server: agents that answer out of a script, days that pass at once, and a crash everywhere.

use std::{error::Error, time::Duration};

use mcp_agent_sdk::{
    McpError, Workflow, WorkflowContext, WorkflowState, WorkflowStatus, WorkflowTest,
    WorkflowTransitionResult as Then,
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

async fn draft(ctx: WorkflowContext, topic: String) -> Result<Then, McpError> {
    let text: String = ctx.send_command("writer", "write", &topic).await?;
    ctx.publish("drafted", &text).await?;
    Ok(Then::to("review").with(&text))
}

fn article() -> Workflow {
    let review = WorkflowState::wait_for("approved");
    Workflow::new("article")
        .state("draft", WorkflowState::run(draft).to("review"))
        .state("review", review.then("published").within(WEEK, "forgotten"))
        .state("published", WorkflowState::end())
        .state("forgotten", WorkflowState::end())
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let written = || {
        WorkflowTest::new(article())
            .data("the sea")
            .fail_first("writer", "write", McpError::temporary("BUSY"))
            .answer("writer", "write", "waves")
    };
    let approved = written().signal("review", "approved", &());
    let run = approved.run().await?;
    run.assert_path(&["draft", "review", "published"])
        .assert_status(WorkflowStatus::Completed);
    assert_eq!(run.count("writer", "write"), 2);

    let forgotten = written().run().await?;
    forgotten.assert_path(&["draft", "review", "forgotten"]);
    assert!(forgotten.elapsed >= WEEK, "and yet it took no time");

    let report = approved.crash_at_every_step().await?;
    println!(
        "{} crashes, one text, one event, the same end",
        report.crashes
    );
    Ok(())
}
