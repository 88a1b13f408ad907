//! Another ending: a new workflow begins at a checkpoint of an old one, with other data.

use std::error::Error;

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

async fn write(_: WorkflowContext, mut tale: Value) -> Result<Then, McpError> {
    tale["text"] = json!("Once upon a time");
    Ok(Then::to("end").with(&tale))
}

async fn end(_: WorkflowContext, mut tale: Value) -> Result<Then, McpError> {
    tale["text"] = json!(format!("{} … {}", tale["text"], tale["ending"]));
    Ok(Then::to("told").with(&tale))
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let tale = Workflow::new("tale")
        .state("write", WorkflowState::run(write).to("end"))
        .state("end", WorkflowState::run(end).to("told").checkpoint())
        .state("told", WorkflowState::end());
    let agent = Agent::new("teller").workflow(tale).start(client).await?;

    let workflows = Workflows::new(client);
    let tale = workflows.create_workflow("tale", None, json!({"ending": "happily"}));
    tale.id("tale-1").await?;
    workflows.wait_for_end("tale-1").await?;
    let other = workflows.create_workflow("tale", None, json!({"ending": "sadly"}));
    other.id("tale-2").fork_of("tale-1", "end").await?;
    let ended = workflows.wait_for_end("tale-2").await?;
    println!("{}", ended.data.decode::<Value>()?["text"]);
    assert_eq!(
        ended.parent.as_ref().map(|parent| parent.as_str()),
        Some("tale-1")
    );
    assert_eq!(
        ended.history.len(),
        1,
        "what was before the checkpoint is not done again"
    );
    agent.drain().await;
    Ok(())
}
