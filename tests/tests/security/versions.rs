//! Workflows that are parked, and children: what engines do for them, they do with exactly their rights.

use std::time::Duration;

use mcp_agent_sdk::{
    Agent, McpError, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then, Workflows,
};
use mcp_tests::eventually;
use serde_json::{Value, json};

use crate::realm::{Realm, TestResult};

fn order(version: &str) -> Workflow {
    Workflow::new("order")
        .version(version)
        .state("gate", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
}

async fn until(workflows: &Workflows, id: &str, status: WorkflowStatus) {
    eventually(&format!("`{id}` is {status}"), || async {
        let found = workflows.get_workflow(id).await.ok().flatten();
        found.is_some_and(|record| record.status == status)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_workflow_goes_on_when_its_version_comes() -> TestResult {
    let shop = ["shop", "--runs", "order"];
    let realm = Realm::found(&[&shop, &["desk", "--drives", "order"]]).await;
    let run = async |version: &str| {
        let agent = Agent::new("shop").workflow(order(version));
        agent.start(&realm.client("shop").await).await
    };
    let workflows = Workflows::new(&realm.client("desk").await);
    let first = run("1.0").await?;
    workflows
        .create_workflow("order", None, json!({}))
        .id("w")
        .await?;
    until(&workflows, "w", WorkflowStatus::Waiting).await;
    first.drain().await;
    let _second = run("2.0").await?;
    let told = workflows.signal_workflow("w", "paid", json!({}));
    assert!(told.timeout(Duration::from_millis(300)).await.is_err());
    until(&workflows, "w", WorkflowStatus::Parked).await;
    let _first = run("1.0").await?;
    until(&workflows, "w", WorkflowStatus::Completed).await;
    Ok(())
}

async fn shoot(ctx: WorkflowContext, _: Value) -> Result<Then, McpError> {
    for definition in ["scene", "stunt"] {
        ctx.labelled(definition).start_child(definition, "sea")?;
    }
    Ok(Then::to("gather"))
}

async fn cut(ctx: WorkflowContext, _: Value) -> Result<Then, McpError> {
    let mut takes: Vec<String> = Vec::new();
    for child in ctx.children() {
        let take = ctx.child_result(child).await;
        takes.push(take.unwrap_or_else(|error: McpError| error.code));
    }
    Ok(Then::to("done").with(&takes))
}

fn one_state(name: &str) -> Workflow {
    async fn take(_: WorkflowContext, _: String) -> Result<Then, McpError> {
        Ok(Then::complete().with("done"))
    }
    Workflow::new(name).state("take", WorkflowState::run(take).completes())
}

/// The studio may start scenes, and no stunts.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_may_not_be_started_has_failed_by_that() -> TestResult {
    let studio = ["studio", "--runs", "film", "--drives", "scene"];
    let crew = ["crew", "--runs", "scene,stunt", "--drives", "film"];
    let realm = Realm::found(&[&studio, &crew, &["desk", "--drives", "film"]]).await;
    let crew = Agent::new("crew")
        .workflow(one_state("scene"))
        .workflow(one_state("stunt"));
    let _crew = crew.start(&realm.client("crew").await).await?;
    let film = Workflow::new("film")
        .state("shoot", WorkflowState::run(shoot).to("gather"))
        .state("gather", WorkflowState::wait_for_children().then("cut"))
        .state("cut", WorkflowState::run(cut).to("done"))
        .state("done", WorkflowState::end());
    let studio = Agent::new("studio").workflow(film);
    let _studio = studio.start(&realm.client("studio").await).await?;
    let workflows = Workflows::new(&realm.client("desk").await);
    let film = workflows.create_workflow("film", None, json!({}));
    film.id("f").await?;
    let done = workflows.wait_for_end("f").await?;
    let takes: Vec<String> = done.data()?;
    assert_eq!(takes, ["done", "PERMISSION_DENIED"]);
    Ok(())
}
