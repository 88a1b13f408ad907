//! A film that starts a workflow for each scene, and cuts what comes back.

use std::error::Error;

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};

async fn shoot(ctx: WorkflowContext, scenes: Vec<String>) -> Result<Then, McpError> {
    for scene in &scenes {
        ctx.labelled(scene).start_child("scene", scene)?;
    }
    Ok(Then::to("gather"))
}

async fn cut(ctx: WorkflowContext, _: Vec<String>) -> Result<Then, McpError> {
    let mut takes: Vec<String> = Vec::new();
    for child in ctx.children() {
        // `?` would fail the film with the error of a scene that failed.
        takes.push(ctx.child_result(child).await?);
    }
    Ok(Then::to("done").with(&takes))
}

async fn take(_: WorkflowContext, scene: String) -> Result<Then, McpError> {
    Ok(Then::to("kept").with(&format!("{scene} at dawn")))
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let film = Workflow::new("film")
        .state("shoot", WorkflowState::run(shoot).to("gather"))
        .state("gather", WorkflowState::wait_for_children().then("cut"))
        .state("cut", WorkflowState::run(cut).to("done"))
        .state("done", WorkflowState::end());
    let scene = Workflow::new("scene")
        .state("take", WorkflowState::run(take).to("kept"))
        .state("kept", WorkflowState::end());
    let agent = Agent::new("studio").workflow(film).workflow(scene);
    let agent = agent.start(client).await?;

    let workflows = Workflows::new(client);
    let film = workflows.create_workflow("film", None, ["sea", "harbour"]);
    film.id("film-1").await?;
    let ended = workflows.wait_for_end("film-1").await?;
    let takes: Vec<String> = ended.data()?;
    println!("{}", takes.join(", "));
    assert_eq!(takes, ["sea at dawn", "harbour at dawn"]);
    agent.drain().await;
    Ok(())
}
