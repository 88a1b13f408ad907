//! An engine that dies while it leaves a state, sets a timer, parks a workflow, gives one away, or buries a task.

use std::time::Duration;

use futures_util::future::try_join_all;
use mcp_agent_sdk::{
    TestBroker, WorkflowStatus,
    runtime::{DeadLetterFilter, DeadLetters},
};
use mcp_tests::{Process, eventually};
use serde_json::json;

use crate::{
    TestResult, bounded,
    scene::{Scene, path, until_no_task_is_left},
};

/// The places at which an engine dies here, and what brings it there.
pub(crate) const DEATHS: [(&str, Way); 6] = [
    ("engine.exited", Way::Told),
    ("engine.before_timer", Way::Told),
    ("engine.timer", Way::Told),
    ("engine.parked", Way::Alone),
    ("engine.giving_back", Way::Bereaved),
    ("engine.buried", Way::Nonsense),
];

/// How an engine comes to its death.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Way {
    /// It moves a workflow of its own version.
    Told,
    /// It is asked for one of a version that nobody has.
    Alone,
    /// It is asked for one of a version that another engine is still said to have.
    Bereaved,
    /// It is sent a task that nobody can read.
    Nonsense,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_comes_to_its_end_whoever_dies_on_the_way() -> TestResult {
    bounded(Duration::from_secs(120), async {
        let broker = TestBroker::start().await?;
        try_join_all(DEATHS.map(|(place, way)| die_at(&broker, place, way))).await?;
        Ok(())
    })
    .await
}

/// One engine decides on a pause, and dawdles before it sets the timer; meanwhile another one moves the workflow on, to the
/// next pause. Of two timers the server keeps the one that came last.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_set_late_does_not_replace_the_one_that_is_waited_for() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "late_timer").await?;
        let workflows = &scene.workflows;
        let _slow = engine(&scene, "1", "engine.before_timer:1:5000").await;
        let pauses = json!({"work_ms": 3_600_000, "rest_ms": 8_000});
        let create = workflows.create_workflow("probe_desk", None, pauses);
        create.id("w").await?;
        workflows.transition_workflow("w", "work").await?;
        scene
            .until("w", "it pauses", |record| {
                record.state.as_str() == "work" && record.status == WorkflowStatus::Waiting
            })
            .await;
        let _quick = engine(&scene, "1", "").await;
        workflows.transition_workflow("w", "rest").await?;
        let timer = || async {
            let stream = scene.client.namespace().tasks_stream(0);
            let stream = scene.client.jetstream().get_stream(stream).await.ok()?;
            let subject = "late_timer.timer.probe_desk.0.w";
            let timer = stream.get_last_raw_message_by_subject(subject).await;
            timer.ok().map(|timer| timer.sequence)
        };
        eventually("the rest has its timer", || async {
            timer().await.is_some()
        })
        .await;
        let of_the_rest = timer().await;
        eventually("the late timer comes", || async {
            timer().await > of_the_rest
        })
        .await;
        let done = scene.until_completed("w").await;
        assert_eq!(path(&done), ["desk", "work", "rest", "done"]);
        Ok(())
    })
    .await
}

async fn engine(scene: &Scene, version: &str, failpoint: &str) -> Process {
    let environment = [("MCP_FAILPOINT", failpoint)];
    let armed: &[(&str, &str)] = if failpoint.is_empty() {
        &[]
    } else {
        &environment
    };
    scene.engine_of(&["--desk-version", version], armed).await
}

async fn die_at(broker: &TestBroker, place: &str, way: Way) -> TestResult {
    let scene = Scene::new(broker, &place.replace('.', "_")).await?;
    let workflows = &scene.workflows;
    let mut first = engine(&scene, "1", "").await;
    let create = workflows.create_workflow("probe_desk", None, json!({}));
    create.id("w").await?;
    scene
        .until("w", "it waits at the desk", |record| {
            record.status == WorkflowStatus::Waiting
        })
        .await;
    match way {
        // Its presence stays for a while.
        Way::Bereaved => drop(first.kill().await),
        _ => drop(first.terminate().await),
    }
    let version = match way {
        Way::Told | Way::Nonsense => "1",
        Way::Alone | Way::Bereaved => "2",
    };
    let mut doomed = engine(&scene, version, &format!("{place}:1")).await;
    let told = match way {
        Way::Nonsense => {
            let subject = format!("{}.wf.probe_desk.0.control.w", scene.client.namespace());
            let sent = scene.client.jetstream().publish(subject, "nonsense".into());
            sent.await?.await?;
            doomed.ended().await;
            None
        }
        _ => {
            let told = workflows.transition_workflow("w", "work");
            Some(tokio::spawn(async move { told.await }))
        }
    };
    doomed.ended().await;

    let _healthy = [engine(&scene, "1", "").await, engine(&scene, "2", "").await];
    match told {
        Some(told) => drop(told.await?.map_err(|error| format!("{place}: {error}"))?),
        None => drop(workflows.transition_workflow("w", "work").await?),
    }
    check(&scene, place, way).await
}

async fn check(scene: &Scene, place: &str, way: Way) -> TestResult {
    let record = scene.until_completed("w").await;
    assert_eq!(path(&record), ["desk", "work", "done"], "{place}");
    assert_eq!(record.version, "1", "{place}");
    let effects = scene.effects();
    for effect in ["w:left", "w:work"] {
        assert_eq!(
            effects.get(effect).map_or(0, Vec::len),
            1,
            "{place}: {effect}"
        );
    }
    until_no_task_is_left(&scene.client).await;
    let parked = usize::from(way == Way::Alone);
    let names = ["started", "transitioned", "completed", "failed", "parked"];
    let counts = scene.count_events("w", &names).await?;
    assert_eq!(counts, [1, 2, 1, 0, parked], "{place}");
    let letters = DeadLetters::new(&scene.client);
    let buried = usize::from(way == Way::Nonsense);
    eventually("the dead letters are as they should be", || async {
        let found = letters.list(&DeadLetterFilter::new()).await;
        found.is_ok_and(|found| found.len() == buried)
    })
    .await;
    Ok(())
}
