//! Workflows of several agents, schedules and versions, and what agents tell each other, with exactly the rights that each has:
//! nothing may be refused.

use std::time::Duration;

use futures_util::future::try_join_all;
use mcp_agent_sdk::{
    Agent, Agents, Client, Context, McpError, Priority, RunningAgent, Schedule, Schedules,
    Workflow, WorkflowContext, WorkflowFilter, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then, Workflows, runtime::persistence::OutboxConfig,
};
use mcp_tests::eventually;

use crate::realm::{Realm, TestResult};

async fn double(_: Context, n: u32) -> Result<u32, McpError> {
    Ok(2 * n)
}

async fn shoot(ctx: WorkflowContext, scenes: Vec<String>) -> Result<Then, McpError> {
    for scene in &scenes {
        ctx.labelled(scene).start_child("scene", scene)?;
    }
    Ok(Then::to("gather"))
}

async fn cut(ctx: WorkflowContext, _: Vec<String>) -> Result<Then, McpError> {
    let mut takes: Vec<String> = Vec::new();
    for child in ctx.children() {
        takes.push(ctx.child_result(child).await?);
    }
    Ok(Then::to("done").with(&takes))
}

fn film() -> Workflow<()> {
    Workflow::new("film")
        .state("shoot", WorkflowState::run(shoot).to("gather"))
        .state("gather", WorkflowState::wait_for_children().then("cut"))
        .state("cut", WorkflowState::run(cut).to("done"))
        .state("done", WorkflowState::end())
}

/// `slow…` waits for the light.
async fn take(_: WorkflowContext, name: String) -> Result<Then, McpError> {
    match name.starts_with("slow") {
        true => Ok(Then::to("light")),
        false => Ok(Then::to("kept").with(&format!("{name} in colour"))),
    }
}

fn scene(version: &str) -> Workflow<()> {
    Workflow::new("scene")
        .version(version)
        .state("take", WorkflowState::run(take).to("kept").to("light"))
        .state("light", WorkflowState::wait_for("light").then("kept"))
        .state("kept", WorkflowState::end())
}

/// The director makes films of scenes that the painter makes; the clerk keeps the diary.
async fn studio() -> Realm {
    Realm::found(&[
        &["painter", "--runs", "scene"],
        &[
            "director",
            "--runs",
            "film",
            "--drives",
            "scene",
            "--commands",
            "painter",
        ],
        &[
            "clerk",
            "--runs",
            "mcp_schedule",
            "--drives",
            "film",
            "--commands",
            "painter",
        ],
        &[
            "desk",
            "--client",
            "--commands",
            "painter",
            "--drives",
            "film,scene,mcp_schedule",
        ],
    ])
    .await
}

fn nothing_was_refused(realm: &Realm) {
    let log = realm.cluster.log(0);
    let refused = log.lines().filter(|line| line.contains("Violation"));
    let refused: Vec<&str> = refused.collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

async fn paint(realm: &Realm, version: &str) -> Result<RunningAgent, Box<dyn std::error::Error>> {
    let painter = Agent::new("painter").on("double", double);
    let painter = painter.workflow(scene(version));
    Ok(painter.start(&realm.client("painter").await).await?)
}

async fn until(workflows: &Workflows, id: &str, status: WorkflowStatus) {
    eventually(&format!("{id} is {status:?}"), || async {
        let found = workflows.get_workflow(id).await;
        matches!(found, Ok(Some(record)) if record.status == status)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_of_several_agents_start_tell_stop_and_await_each_other() -> TestResult {
    let realm = studio().await;
    let painter = paint(&realm, "1").await?;
    let director = Agent::new("director").workflow(film());
    let director = director.start(&realm.client("director").await).await?;
    let clerk = Agent::new("clerk").schedules();
    let clerk = clerk.start(&realm.client("clerk").await).await?;
    let desk = realm.client("desk").await;
    let workflows = Workflows::new(&desk);

    // A parent and its children, each with an engine of its own; then one that is stopped with them.
    for id in ["f", "g"] {
        let film = workflows.create_workflow("film", None, ["sea", "slow"]);
        film.id(id).await?;
        until(
            &workflows,
            &format!("{id}--1-slow"),
            WorkflowStatus::Waiting,
        )
        .await;
    }
    workflows.stop_workflow("g").await?;
    until(&workflows, "g--1-slow", WorkflowStatus::Stopped).await;

    // A version that goes and comes back: its workflow is parked meanwhile.
    painter.drain().await;
    let second = paint(&realm, "2").await?;
    let told = workflows.signal_workflow("f--1-slow", "light", ());
    assert!(told.timeout(Duration::from_millis(300)).await.is_err());
    until(&workflows, "f--1-slow", WorkflowStatus::Parked).await;
    let painter = paint(&realm, "1").await?;
    let film = workflows.wait_for_end("f").await?;
    assert_eq!(film.status, WorkflowStatus::Completed);
    assert_eq!(film.data::<Vec<String>>()?, ["sea in colour", "slow"]);

    // By the clock: a workflow, and a command.
    let schedules = Schedules::new(&desk);
    let hour = Duration::from_secs(3600);
    let films = Schedule::every(hour).starts("film", &["sea"]);
    let sums = Schedule::every(hour).sends("painter", "double", &4);
    for (name, schedule) in [("films", films), ("sums", sums)] {
        schedules.add(name, schedule).await?;
        schedules.run_now(name).await?;
    }
    eventually("the scheduled film is made", || async {
        let films = WorkflowFilter::default().definition("film");
        let films = workflows.list_workflows(&films).await.unwrap_or_default();
        let made = films
            .iter()
            .filter(|film| film.status == WorkflowStatus::Completed);
        made.count() == 2
    })
    .await;
    schedules.pause("films").await?;
    schedules.remove("films").await?;
    for agent in [director, clerk, second, painter] {
        agent.drain().await;
    }
    nothing_was_refused(&realm);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_see_each_other_pack_spool_and_tell_of_breakers() -> TestResult {
    let realm = studio().await;
    let painters = [paint(&realm, "1").await?, paint(&realm, "1").await?];
    let folder = tempfile::tempdir()?;
    let config = realm
        .config("desk")
        .outbox(OutboxConfig::new(folder.path()));
    let desk = Client::connect(config).await?;
    // Many at once, so that they are packed; more than the instances have room for, so that they pass some on.
    let sums = (0..400_u32).map(|n| {
        let desk = desk.clone();
        async move { desk.send_command::<u32>("painter", "double", n).await }
    });
    let sums = try_join_all(sums).await?;
    assert_eq!(sums.iter().sum::<u32>(), 399 * 400);
    // Over the disk.
    let urgent = desk.submit_command("painter", "double", 21);
    let urgent = urgent.priority(Priority::Critical).await?;
    assert_eq!(urgent.outcome::<u32>(Duration::from_secs(20)).await?, 42);
    // Everybody may see who is there, and tell of its own breakers.
    let agents = Agents::of(&desk).agent("painter");
    assert_eq!(agents.list().await?.len(), 2);
    let sent = desk
        .send_command::<u32>("painter", "double", 1)
        .require_online();
    assert_eq!(sent.await?, 2);
    desk.force_open("painter", None, None)?;
    let admin = realm.client("admin").await;
    eventually("the open breaker is told", || async {
        let events = admin.jetstream().get_stream("mcp_events").await;
        let Ok(events) = events else { return false };
        let told = events.get_last_raw_message_by_subject("mcp.evt.desk.breaker_opened");
        told.await.is_ok()
    })
    .await;
    for painter in painters {
        painter.drain().await;
    }
    nothing_was_refused(&realm);
    Ok(())
}
