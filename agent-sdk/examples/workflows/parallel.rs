//! Commands side by side: one picture fails at first, and only that one is asked for again.

use std::error::Error;

use mcp_agent_sdk::{
    Agent, Client, Context, McpError, StateRetry, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};

use std::time::Duration;

async fn paint(ctx: Context, scene: String) -> Result<String, McpError> {
    println!("painting {scene}");
    match scene == "storm" && ctx.attempt() == 1 {
        true => Err(McpError::temporary("OUT_OF_BLUE").retry_after(Duration::from_millis(50))),
        false => Ok(format!("{scene}.png")),
    }
}

async fn pictures(ctx: WorkflowContext, scenes: Vec<String>) -> Result<Then, McpError> {
    let pictures: Vec<String> = ctx
        .join_all(
            scenes
                .iter()
                .map(|scene| ctx.command(scene, "painter", "paint", scene)),
        )
        .await?;
    Ok(Then::to("done").with(&pictures))
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let retry = StateRetry::times(3).delay(Duration::from_millis(50));
    let album = Workflow::new("album")
        .state(
            "pictures",
            WorkflowState::run(pictures).to("done").retry(retry),
        )
        .state("done", WorkflowState::end());
    let agent = Agent::new("painter").on("paint", paint).workflow(album);
    let agent = agent.start(client).await?;

    let workflows = Workflows::new(client);
    let album = workflows.create_workflow("album", None, ["sea", "storm", "calm"]);
    album.id("album-1").await?;
    let ended = workflows.wait_for_end("album-1").await?;
    let pictures: Vec<String> = ended.data()?;
    assert_eq!(pictures, ["sea.png", "storm.png", "calm.png"]);
    println!("{}", pictures.join(", "));
    agent.drain().await;
    Ok(())
}
