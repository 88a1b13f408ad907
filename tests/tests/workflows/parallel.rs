//! Commands side by side in a state: their progress shows while it runs, and what is done is not done again.

use std::time::Duration;

use mcp_agent_sdk::{
    Agent, CommandProgress, Context, McpError, Workflow, WorkflowContext, WorkflowState,
    WorkflowStatus, WorkflowTransitionResult as Then,
};
use serde_json::Value;

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
};

async fn paint(ctx: Context<Journal>, scene: String) -> Result<String, McpError> {
    ctx.state().note(format!("paint {scene}"));
    if scene == "slow" {
        mcp_tests::eventually("somebody lets it go", || async {
            ctx.state().lines().iter().any(|line| line == "go")
        })
        .await;
    }
    Ok(format!("{scene}.png"))
}

async fn pictures(ctx: WorkflowContext<Journal>, scenes: Vec<String>) -> Result<Then, McpError> {
    let commands = scenes
        .iter()
        .map(|scene| ctx.command(scene, "painter", "paint", scene));
    let pictures: Vec<String> = ctx.join_all(commands).await?;
    Ok(Then::to("done").with(&pictures))
}

fn album() -> Workflow<Journal> {
    Workflow::new("album")
        .state("pictures", WorkflowState::run(pictures).to("done"))
        .state("done", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_shows_and_what_is_done_is_not_done_again() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let author = Author::new().await?;
        let painter = Agent::with_state("painter", author.journal.clone()).on("paint", paint);
        let painter = painter.start(&author.broker.client().await?).await?;
        let first = author.engine(album()).await?;
        let create = author
            .workflows
            .create_workflow("album", None, ["sea", "slow", "sky"]);
        create.id("a").await?;
        let seen = author
            .until("a", "two of three are done", |record| {
                let done =
                    |it: &&mcp_agent_sdk::LabelProgress| it.progress == CommandProgress::Done;
                record.progress.iter().filter(done).count() == 2
            })
            .await;
        assert_eq!(seen.status, WorkflowStatus::Running);
        let labels: Vec<&str> = seen.progress.iter().map(|it| it.label.as_str()).collect();
        assert_eq!(labels, ["sea", "slow", "sky"]);

        // Its engine dies; the next one runs the state again.
        drop(first);
        let _second = author.engine(album()).await?;
        let taken_over = |record: &mcp_agent_sdk::WorkflowRecord| {
            record
                .driver
                .as_ref()
                .is_some_and(|driver| driver.delivery > 1)
        };
        author.until("a", "another engine has it", taken_over).await;
        author.journal.note("go");
        let done = author.until_status("a", WorkflowStatus::Completed).await;
        assert_eq!(
            done.data.decode::<Value>()?,
            serde_json::json!(["sea.png", "slow.png", "sky.png"])
        );
        let mut painted = author.journal.lines();
        painted.sort();
        assert_eq!(painted, ["go", "paint sea", "paint sky", "paint slow"]);
        painter.drain().await;
        Ok(())
    })
    .await
}
