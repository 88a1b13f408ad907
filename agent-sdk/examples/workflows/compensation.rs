//! A trip whose car is not to be had: hotel and flight are cancelled, the last first.

use std::error::Error;

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

async fn flight(ctx: WorkflowContext, _trip: Value) -> Result<Then, McpError> {
    println!("{} books the flight", ctx.workflow_id());
    Ok(Then::to("hotel"))
}

async fn hotel(_: WorkflowContext, _trip: Value) -> Result<Then, McpError> {
    Ok(Then::to("car"))
}

async fn car(_: WorkflowContext, _trip: Value) -> Result<Then, McpError> {
    Err(McpError::permanent("NO_CARS").message("all cars are out"))
}

/// A command from here would have a key of its own, so it takes effect once however often this runs.
async fn cancel(ctx: WorkflowContext, _trip: Value) -> Result<(), McpError> {
    println!("{} cancels the {}", ctx.workflow_id(), ctx.current_state());
    Ok(())
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let trip = Workflow::new("trip")
        .state(
            "flight",
            WorkflowState::run(flight).to("hotel").compensate(cancel),
        )
        .state(
            "hotel",
            WorkflowState::run(hotel).to("car").compensate(cancel),
        )
        .state("car", WorkflowState::run(car).to("booked"))
        .state("booked", WorkflowState::end());
    let agent = Agent::new("travel").workflow(trip).start(client).await?;

    let workflows = Workflows::new(client);
    workflows
        .create_workflow("trip", None, json!({}))
        .id("trip-1")
        .await?;
    let ended = workflows.wait_for_end("trip-1").await?;
    assert_eq!(ended.status, WorkflowStatus::Failed);
    for step in ended.compensation.iter().flat_map(|it| &it.steps) {
        println!("{}: {:?}", step.state, step.progress);
    }
    agent.drain().await;
    Ok(())
}
