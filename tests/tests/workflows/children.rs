//! Workflows that start others: told of their ends, and stopped with them.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
};

const LIMIT: Duration = Duration::from_secs(60);

type Ctx = WorkflowContext<Journal>;

/// Starts one scene for each name, and gathers what they have made.
async fn shoot(ctx: Ctx, film: Value) -> Result<Then, McpError> {
    for scene in film["scenes"].as_array().into_iter().flatten() {
        let scene = scene.as_str().unwrap_or_default();
        ctx.labelled(scene).start_child("scene", scene)?;
    }
    if let Some(archive) = film["archive"].as_str() {
        ctx.labelled(archive)
            .start_independent_child("scene", archive)?;
    }
    ctx.state().note("shoot");
    Ok(Then::to("gather"))
}

async fn cut(ctx: Ctx, _: Value) -> Result<Then, McpError> {
    let mut takes = Vec::new();
    for child in ctx.children() {
        let take = ctx.child_result::<String>(child).await;
        takes.push(take.unwrap_or_else(|error| error.code));
    }
    Ok(Then::to("done").with(&takes))
}

fn film() -> Workflow<Journal> {
    Workflow::new("film")
        .state("shoot", WorkflowState::run(shoot).to("gather"))
        .state("gather", WorkflowState::wait_for_children().then("cut"))
        .state("cut", WorkflowState::run(cut).to("done"))
        .state("done", WorkflowState::end())
}

/// `bad` fails, `slow…` waits for the light, `big` makes more than a signal carries.
async fn take(_: Ctx, name: String) -> Result<Then, McpError> {
    match name.as_str() {
        "bad" => Err(McpError::permanent("RAIN")),
        "big" => Ok(Then::to("kept").with(&"x".repeat(10_000))),
        name if name.starts_with("slow") => Ok(Then::to("light")),
        name => Ok(Then::to("kept").with(&format!("{name} in colour"))),
    }
}

fn scene() -> Workflow<Journal> {
    Workflow::new("scene")
        .state("take", WorkflowState::run(take).to("kept").to("light"))
        .state("light", WorkflowState::wait_for("light").then("kept"))
        .state("kept", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_started_once_and_their_ends_come_back() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engines(vec![film(), scene()]).await?;
        let workflows = &author.workflows;
        let data = json!({"scenes": ["sea", "bad", "big", "slow"]});
        workflows
            .create_workflow("film", None, data)
            .id("f")
            .await?;
        let waiting = author
            .until("f", "three of four have ended", |record| {
                record
                    .children
                    .iter()
                    .filter(|child| !child.is_running())
                    .count()
                    == 3
            })
            .await;
        assert!(waiting.waits_for_children(), "{waiting:?}");
        assert_eq!(waiting.children[3].id.as_str(), "f--1-slow");
        let child = workflows
            .get_workflow("f--1-slow")
            .await?
            .expect("it is there");
        assert_eq!(
            child.parent.as_ref().map(|parent| parent.as_str()),
            Some("f")
        );
        workflows
            .signal_workflow("f--1-slow", "light", json!({}))
            .await?;
        let done = author.until_status("f", WorkflowStatus::Completed).await;
        let takes: Vec<String> = done.data()?;
        assert_eq!(takes[..2], ["sea in colour", "RAIN"]);
        assert_eq!((takes[2].len(), takes[3].as_str()), (10_000, "slow"));
        assert_eq!(author.journal.lines(), ["shoot"]);
        Ok(())
    })
    .await
}

/// Waits for any child, until all are there.
#[tokio::test(flavor = "multi_thread")]
async fn any_child_wakes_its_parent() -> TestResult {
    async fn race(ctx: Ctx, _: Value) -> Result<Then, McpError> {
        if ctx.children().is_empty() {
            ctx.labelled("slow").start_child("scene", "slow")?;
            ctx.labelled("sea").start_child("scene", "sea")?;
            return Ok(Then::wait_for_any_child());
        }
        let ended = ctx.children().iter().filter(|child| !child.is_running());
        ctx.state().note(
            ended
                .map(|child| child.label.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        );
        match ctx.children().iter().any(|child| child.is_running()) {
            true => Ok(Then::wait_for_children()),
            false => Ok(Then::complete()),
        }
    }
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let race = Workflow::new("race").state("race", WorkflowState::run(race).completes());
        let _engine = author.engines(vec![race, scene()]).await?;
        author
            .workflows
            .create_workflow("race", None, json!({}))
            .id("r")
            .await?;
        author
            .until("r", "the first has won", |record| {
                record.entry == 2 && record.status == WorkflowStatus::Waiting
            })
            .await;
        author
            .workflows
            .signal_workflow("r--1-slow", "light", json!({}))
            .await?;
        author.until_status("r", WorkflowStatus::Completed).await;
        assert_eq!(author.journal.lines(), ["sea", "slow sea"]);
        Ok(())
    })
    .await
}

/// Whatever becomes of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_waits_for_the_one_child_that_it_names() -> TestResult {
    async fn duel(ctx: Ctx, _: Value) -> Result<Then, McpError> {
        if ctx.children().is_empty() {
            ctx.labelled("slow").start_child("scene", "slow")?;
            let second = ctx.labelled("second").start_child("scene", "slow too")?;
            return Ok(Then::wait_for_child(&second));
        }
        for child in ctx.children() {
            let how = child.status.map_or("under way", WorkflowStatus::as_str);
            ctx.state().note(format!("{} {how}", child.label));
        }
        Ok(Then::complete())
    }
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let duel = Workflow::new("duel").state("duel", WorkflowState::run(duel).completes());
        let _engine = author.engines(vec![duel, scene()]).await?;
        let workflows = &author.workflows;
        for (id, named, first) in [
            ("a", "second", ["slow completed", "second completed"]),
            ("b", "nobody", ["slow under way", "second completed"]),
        ] {
            let create = workflows.create_workflow("duel", None, json!({}));
            create.id(id).await?;
            author
                .until(id, "it waits", |record| record.waits_for_children())
                .await;
            if named == "second" {
                let other = format!("{id}--1-slow");
                author.until_status(&other, WorkflowStatus::Waiting).await;
                workflows
                    .signal_workflow(&other, "light", json!({}))
                    .await?;
                let told = |record: &mcp_agent_sdk::WorkflowRecord| {
                    record.children.iter().any(|child| !child.is_running())
                };
                let waiting = author.until(id, "the other has ended", told).await;
                assert_eq!(
                    (waiting.entry, waiting.status),
                    (1, WorkflowStatus::Waiting)
                );
            }
            let second = format!("{id}--1-second");
            // That it is started is told after the record that waits for it.
            author.until_status(&second, WorkflowStatus::Waiting).await;
            workflows
                .signal_workflow(&second, "light", json!({}))
                .await?;
            author.until_status(id, WorkflowStatus::Completed).await;
            let lines = author.journal.lines();
            assert_eq!(lines[lines.len() - 2..], first);
        }
        Ok(())
    })
    .await
}

/// Nobody has the one's definition, and the other's id is taken: neither is waited for in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_cannot_start_has_failed_and_says_why() -> TestResult {
    async fn hope(ctx: Ctx, _: Value) -> Result<Then, McpError> {
        ctx.labelled("nobodys").start_child("scenery", "sea")?;
        ctx.labelled("taken").start_child("scene", "sea")?;
        ctx.labelled("good").start_child("scene", "sea")?;
        Ok(Then::to("gather"))
    }
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let hopeful = Workflow::new("hopeful")
            .state("hope", WorkflowState::run(hope).to("gather"))
            .state("gather", WorkflowState::wait_for_children().then("cut"))
            .state("cut", WorkflowState::run(cut).to("done"))
            .state("done", WorkflowState::end());
        let _engine = author.engines(vec![hopeful, film(), scene()]).await?;
        let workflows = &author.workflows;
        let other = workflows.create_workflow("film", "gather", json!({}));
        other.id("f--1-taken").await?;
        let hopeful = workflows.create_workflow("hopeful", None, json!({}));
        hopeful.id("f").await?;
        let done = author.until_status("f", WorkflowStatus::Completed).await;
        let takes: Vec<String> = done.data()?;
        assert_eq!(
            takes,
            ["NO_SUCH_DEFINITION", "WORKFLOW_EXISTS", "sea in colour"]
        );
        let error = done.children[0].error.clone().expect("it says why");
        assert!(
            error.message.contains("no workflow definition `scenery`"),
            "{error}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stops_the_children_or_leaves_them() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engines(vec![film(), scene()]).await?;
        let workflows = &author.workflows;
        let data = json!({"scenes": ["slow", "slower"], "archive": "slowest"});
        for id in ["stopped", "left"] {
            workflows
                .create_workflow("film", None, &data)
                .id(id)
                .await?;
            for child in ["slow", "slower", "slowest"] {
                let child = format!("{id}--1-{child}");
                author.until_status(&child, WorkflowStatus::Waiting).await;
            }
        }
        workflows.stop_workflow("stopped").await?;
        workflows.stop_workflow("left").leave_children().await?;
        for child in ["slow", "slower"] {
            let child = format!("stopped--1-{child}");
            let stopped = author.until_status(&child, WorkflowStatus::Stopped).await;
            let reason = stopped.stop_reason.unwrap_or_default();
            assert!(reason.contains("parent `stopped`"), "{reason}");
        }
        for id in [
            "stopped--1-slowest",
            "left--1-slow",
            "left--1-slower",
            "left--1-slowest",
        ] {
            workflows.signal_workflow(id, "light", json!({})).await?;
            author.until_status(id, WorkflowStatus::Completed).await;
        }
        Ok(())
    })
    .await
}

/// The engine is gone between a child's end and the parent's next state.
#[tokio::test(flavor = "multi_thread")]
async fn parents_and_children_survive_their_engine() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let engine = author.engines(vec![film(), scene()]).await?;
        let ids: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
        let data = json!({"scenes": ["a", "b", "c", "bad"]});
        for id in &ids {
            author
                .workflows
                .create_workflow("film", None, &data)
                .id(id)
                .await?;
        }
        author
            .until("f3", "it has begun", |record| record.epoch > 0)
            .await;
        drop(engine);
        let _other = author.engines(vec![film(), scene()]).await?;
        for id in &ids {
            let done = author.until_status(id, WorkflowStatus::Completed).await;
            let takes: Vec<String> = done.data()?;
            assert_eq!(takes, ["a in colour", "b in colour", "c in colour", "RAIN"]);
        }
        Ok(())
    })
    .await
}
