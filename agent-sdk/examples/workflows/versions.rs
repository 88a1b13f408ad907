//! An order begun with version 1 is taken over by version 2, which counts in cents and has another state.

use std::error::Error;

use mcp_agent_sdk::{Agent, Client, Workflow, WorkflowState, WorkflowStatus, Workflows};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
struct Coins {
    coins: u64,
}

#[derive(Serialize, Deserialize)]
struct Cents {
    cents: u64,
}

fn first() -> Workflow {
    Workflow::new("order")
        .version("1")
        .state("charge", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
}

fn second() -> Workflow {
    Workflow::new("order")
        .version("2")
        .state("pay", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
        .migrate_from("1", |workflow, order: Coins| {
            let cents = order.coins * 100;
            Ok(workflow.to("pay").with(&Cents { cents }))
        })
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let old = Agent::new("shop").workflow(first()).start(client).await?;
    let workflows = Workflows::new(client);
    let order = workflows.create_workflow("order", None, Coins { coins: 7 });
    order.id("order-1").await?;

    // Both are alive: the order stays where it is until somebody asks.
    let new = Agent::new("shop").workflow(second()).start(client).await?;
    let moved = workflows.migrate_workflow("order-1", "2").await?;
    println!(
        "{} is in `{}` of version {}",
        moved.id, moved.state, moved.version
    );
    assert_eq!(moved.data::<Cents>()?.cents, 700);
    old.drain().await;
    workflows
        .signal_workflow("order-1", "paid", json!({}))
        .await?;
    let ended = workflows.wait_for_end("order-1").await?;
    assert_eq!(ended.status, WorkflowStatus::Completed);
    new.drain().await;
    Ok(())
}
