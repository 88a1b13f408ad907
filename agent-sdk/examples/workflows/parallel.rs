//! Commands side by side: one picture fails at first, and only that one is asked for again.

use std::{
    error::Error,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use mcp_agent_sdk::{
    Agent, Client, Context, McpError, StateRetry, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};

/// How often something was painted.
static PAINTED: AtomicU32 = AtomicU32::new(0);

async fn paint(_: Context, scene: String) -> Result<String, McpError> {
    println!("painting {scene}");
    let number = PAINTED.fetch_add(1, Relaxed);
    match scene == "storm" && number < 3 {
        true => Err(McpError::temporary("OUT_OF_BLUE")),
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
    assert_eq!(PAINTED.load(Relaxed), 4, "three, and one of them again");
    agent.drain().await;
    Ok(())
}
