//! Finding workflows by what they work on: the definition names the fields, the search asks for them, page by page.

use std::error::Error;

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowFilter, WorkflowState,
    WorkflowStatus, WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

async fn pay(_: WorkflowContext, order: Value) -> Result<Then, McpError> {
    match order["total"].as_u64() {
        Some(total) if total > 100 => Err(McpError::permanent("CARD_REFUSED")),
        _ => Ok(Then::to("paid")),
    }
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let order = Workflow::new("order")
        .index("customer")
        .state("pay", WorkflowState::run(pay).to("paid"))
        .state("paid", WorkflowState::end());
    let agent = Agent::new("shop").workflow(order).start(client).await?;
    let workflows = Workflows::new(client);
    for (id, customer, total) in [
        ("a1", "acme", 50),
        ("a2", "acme", 500),
        ("a3", "acme", 5),
        ("b1", "bolt", 500),
    ] {
        let order = json!({"customer": customer, "total": total});
        workflows
            .create_workflow("order", None, order)
            .id(id)
            .await?;
        workflows.wait_for_end(id).await?;
    }

    let of_acme = WorkflowFilter::default().field("customer", "acme").limit(2);
    let first = workflows.search_workflows(&of_acme).await?;
    let next = of_acme.clone().after(&first.next.ok_or("there are three")?);
    let second = workflows.search_workflows(&next).await?;
    println!(
        "acme has {} + {} orders",
        first.workflows.len(),
        second.workflows.len()
    );
    assert_eq!((first.workflows.len(), second.workflows.len()), (2, 1));

    let refused = of_acme
        .status(WorkflowStatus::Failed)
        .error_code("CARD_REFUSED");
    let refused = workflows.list_workflows(&refused).await?;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].id.as_str(), "a2");
    agent.drain().await;
    Ok(())
}
