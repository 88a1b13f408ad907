//! Starting workflows by the clock: added once, fired once each time, paused, run by hand, removed.

use std::{error::Error, time::Duration};

use mcp_agent_sdk::{
    Agent, Client, McpError, Schedule, Schedules, Workflow, WorkflowContext, WorkflowFilter,
    WorkflowState, WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

async fn tidy(_: WorkflowContext, _: Value) -> Result<Then, McpError> {
    Ok(Then::complete())
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let tidy = Workflow::new("tidy").state("tidy", WorkflowState::run(tidy).completes());
    let agent = Agent::new("janitor").workflow(tidy).schedules();
    let agent = agent.start(client).await?;

    let schedules = Schedules::new(client);
    let nightly = Schedule::cron("0 2 * * *", "Europe/Berlin").starts("tidy", &json!({}));
    schedules.add("nightly", nightly).await?;
    let ran = schedules.run_now("nightly").await?;
    let by_hand = ran.last.ok_or("it has just run")?.id;
    Workflows::new(client).wait_for_end(&by_hand).await?;

    let often = Schedule::every(Duration::from_secs(1)).starts("tidy", &json!({}));
    schedules.add("often", often).await?;
    let fired = async {
        while schedules
            .get("often")
            .await?
            .is_some_and(|often| often.fired < 2)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<(), Box<dyn Error>>(())
    };
    tokio::time::timeout(Duration::from_secs(20), fired).await??;
    let paused = schedules.pause("often").await?;
    println!("{} {}: {} times", paused.name, paused.when, paused.fired);
    let of_tidy = WorkflowFilter::default().definition("tidy");
    let all = Workflows::new(client).list_workflows(&of_tidy).await?;
    assert_eq!(all.len() as u64, paused.fired + 1, "each time once");

    schedules.remove("often").await?;
    let left = schedules.list().await?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name.as_str(), "nightly");
    agent.drain().await;
    Ok(())
}
