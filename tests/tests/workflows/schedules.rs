//! Schedules fire once for each time: with several engines, over the death of one and of the server.

use std::time::Duration;

use mcp_agent_sdk::{
    Agent, Context, McpError, RunningAgent, Schedule, Schedules, TestBroker, Workflow,
    WorkflowContext, WorkflowFilter, WorkflowState, WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

use crate::{TestResult, author::Journal, bounded};

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

/// Keeps what it is told to count.
async fn count(ctx: Context<Journal>, what: String) -> Result<usize, McpError> {
    ctx.state().note(what);
    Ok(ctx.state().lines().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_sent_by_the_clock_of_a_place_and_once_for_each_time() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let journal = Journal::default();
        let mut workers = Vec::new();
        for _ in 0..2 {
            let client = broker.client().await?.named(crate::author::name("worker"));
            let worker = Agent::with_state("worker", journal.clone());
            let worker = worker.on("count", count).schedules();
            workers.push(worker.start(&client).await?);
        }
        let client = broker.client().await?;
        let schedules = Schedules::new(&client);
        let minute = Schedule::cron("* * * * *", "Asia/Kolkata");
        schedules
            .add("beat", minute.sends("worker", "count", "a minute"))
            .await?;
        assert!(journal.lines().is_empty(), "not before its time");
        until_fired(&schedules, 1).await?;
        schedules.pause("beat").await?;
        mcp_tests::eventually("it is sent", || async { !journal.lines().is_empty() }).await;
        schedules
            .add(
                "late",
                Schedule::every(Duration::from_secs(3600)).sends("worker", "count", "late"),
            )
            .await?;
        schedules.run_now("late").await?;
        mcp_tests::eventually("the other is sent", || async { journal.lines().len() > 1 }).await;
        let fired = schedules.get("beat").await?.expect("it is there").fired;
        assert_eq!(
            (fired, journal.lines()),
            (1, vec!["a minute".to_owned(), "late".to_owned()])
        );
        Ok(())
    })
    .await
}
