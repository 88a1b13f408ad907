//! Schedules fire once for each time: with several engines, over the death of one and of the server.

use std::time::Duration;

use mcp_agent_sdk::{
    Agent, McpError, RunningAgent, Schedule, Schedules, TestBroker, Workflow, WorkflowContext,
    WorkflowFilter, WorkflowState, WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

use crate::{TestResult, bounded};

const LIMIT: Duration = Duration::from_secs(90);

async fn job(_: WorkflowContext, _: Value) -> Result<Then, McpError> {
    Ok(Then::complete())
}

async fn engine(broker: &TestBroker) -> Result<RunningAgent, Box<dyn std::error::Error>> {
    let job = Workflow::new("job").state("job", WorkflowState::run(job).completes());
    let client = broker.client().await?.named(crate::author::name("worker"));
    Ok(Agent::new("worker")
        .workflow(job)
        .schedules()
        .start(&client)
        .await?)
}

async fn until_fired(schedules: &Schedules, times: u64) -> TestResult {
    loop {
        // The server is away for a moment.
        let found = schedules.get("beat").await.ok().flatten();
        if found.is_some_and(|beat| beat.fired >= times) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_is_seen_to_once_whoever_dies() -> TestResult {
    bounded(LIMIT, async {
        let mut broker = TestBroker::start().await?;
        let (first, second) = (engine(&broker).await?, engine(&broker).await?);
        let client = broker.client().await?;
        let (schedules, workflows) = (Schedules::new(&client), Workflows::new(&client));
        let beat = Schedule::every(Duration::from_secs(1)).starts("job", &json!({}));
        schedules.add("beat", beat).await?;
        until_fired(&schedules, 1).await?;
        drop(first);
        until_fired(&schedules, 2).await?;
        broker.kill().await?;
        broker.restart().await?;
        until_fired(&schedules, 4).await?;
        let paused = schedules.pause("beat").await?;
        second.drain().await;

        let jobs = WorkflowFilter::default().definition("job");
        let jobs = workflows.list_workflows(&jobs).await?;
        assert_eq!(
            jobs.len() as u64,
            paused.fired,
            "each time has one workflow"
        );
        for job in &jobs {
            let (name, time) = job.id.as_str().split_once('-').unwrap();
            assert_eq!(name, "beat");
            assert!(time.ends_with('Z'), "{time}");
        }
        Ok(())
    })
    .await
}
