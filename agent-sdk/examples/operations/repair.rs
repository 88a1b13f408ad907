//! What `mcpctl doctor --repair` does: a workflow whose timer somebody purged is found, and gets another.

use std::{error::Error, time::Duration};

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

async fn nap(ctx: WorkflowContext, _: Value) -> Result<Then, McpError> {
    match ctx.timed_out() {
        true => Ok(Then::complete()),
        false => Ok(Then::after(Duration::from_secs(1))),
    }
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let nap = Workflow::new("nap").state("nap", WorkflowState::run(nap).completes());
    let agent = Agent::new("sleeper").workflow(nap).start(client).await?;
    let workflows = Workflows::new(client);
    let nap = workflows.create_workflow("nap", None, json!({}));
    nap.id("nap-1").await?;
    tokio::time::timeout(Duration::from_secs(20), lose_the_timer(client)).await??;

    let ailments = async {
        loop {
            let found = workflows.ailments(Duration::ZERO).await?;
            if !found.is_empty() {
                return Ok::<_, Box<dyn Error>>(found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ailments = tokio::time::timeout(Duration::from_secs(20), ailments).await??;
    for ailment in &ailments {
        println!("{ailment:?}");
        assert!(workflows.heal(ailment).await?, "it was helped");
    }
    assert_eq!(ailments.len(), 1);
    workflows.wait_for_end("nap-1").await?;
    agent.drain().await;
    Ok(())
}

/// As an administrator by mistake.
async fn lose_the_timer(client: &Client) -> Result<(), Box<dyn Error>> {
    let tasks = client.jetstream().get_stream("mcp_tasks_0").await?;
    while tasks.purge().filter("mcp.timer.nap.0.nap-1").await?.purged == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
