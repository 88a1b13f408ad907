//! An engine that dies after any of its steps: another one comes to the same end.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::try_join_all;
use mcp_agent_sdk::{TestBroker, WorkflowError, WorkflowStatus};
use mcp_tests::{Process, failpoints_in};
use serde_json::json;

use crate::{TestResult, at_the_desk, bounded, family, scene::Scene};

/// The places at which an engine can be made to die.
const PLACES: [&str; 8] = [
    "engine.taken",
    "engine.run",
    "engine.ran",
    "engine.before_write",
    "engine.written",
    "engine.effect",
    "engine.confirmed",
    "engine.before_ack",
];

/// At which passage of its place.
const PASSAGES: [u32; 3] = [1, 2, 3];

/// Each cell of the matrix waits mostly for a lease to pass, so all places are tried at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_may_die_after_any_step() -> TestResult {
    bounded(Duration::from_secs(150), async {
        let broker = TestBroker::start().await?;
        for passage in PASSAGES {
            let cells = PLACES.map(|place| die_at(&broker, place, passage));
            try_join_all(cells).await?;
        }
        Ok(())
    })
    .await
}

async fn die_at(broker: &TestBroker, place: &str, passage: u32) -> TestResult {
    let namespace = format!("{}_{passage}", place.replace('.', "_"));
    let scene = Scene::new(broker, &namespace).await?;
    let failpoint = format!("{place}:{passage}");
    let mut doomed = scene.engine_with(&[("MCP_FAILPOINT", &failpoint)]).await;
    let workflows = &scene.workflows;
    let create = |id| {
        workflows
            .create_workflow("probe_pipeline", None, json!({}))
            .id(id)
    };
    create("early").await?;
    let signal = workflows.signal_workflow("early", "approve", json!({}));
    let early = tokio::spawn(async move { signal.await });
    create("late").await?;
    let at_the_gate_or_dead = async {
        tokio::select! {
            _ = doomed.ended() => true,
            _ = scene.until_at_the_gate("late") => false,
        }
    };
    let dead = at_the_gate_or_dead.await;
    let keep = workflows.create_workflow_checkpoint("late", "kept");
    let keep = tokio::spawn(async move { keep.await });
    let healthy = match dead {
        true => finish("late", &scene).await?,
        false => {
            let signal = workflows.signal_workflow("late", "approve", json!({}));
            let late = tokio::spawn(async move { signal.await });
            doomed.ended().await;
            let healthy = scene.engine().await;
            answered(late.await?)?;
            healthy
        }
    };
    answered(early.await?)?;
    answered(keep.await?)?;
    check(&scene, &failpoint).await?;
    drop(healthy);
    Ok(())
}

/// A healthy engine, and the signal when the workflow has come to the gate.
async fn finish(id: &str, scene: &Scene) -> Result<Process, Box<dyn std::error::Error>> {
    let healthy = scene.engine().await;
    scene.until_at_the_gate(id).await;
    scene
        .workflows
        .signal_workflow(id, "approve", json!({}))
        .await?;
    Ok(healthy)
}

/// An answer of a dead engine is given again by the next: each is waited for.
fn answered<T>(outcome: Result<T, WorkflowError>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| error.to_string())
}

async fn check(scene: &Scene, failpoint: &str) -> TestResult {
    for id in ["early", "late"] {
        let record = scene.until_completed(id).await;
        assert_eq!(record.status, WorkflowStatus::Completed, "{failpoint}");
        scene.check_the_line(&record);
        scene
            .check_the_events(&record)
            .await
            .map_err(|error| format!("{failpoint}: {error}"))?;
    }
    let checkpoints = scene.workflows.list_workflow_checkpoints("late").await?;
    assert_eq!(checkpoints.len(), 1, "{failpoint}: {checkpoints:?}");
    scene.until_no_task_is_left().await;
    Ok(())
}

/// Places at which the engine of a family dies, and at which passage: from the first commands to the last compensation. The tasks are
/// five, a start and two children that start and end; the runs are seven, the last two of them undo.
const DEATHS: [(&str, &[u32]); 8] = [
    ("engine.taken", &[2, 5]),
    ("engine.run", &[2, 4, 6]),
    ("engine.ran", &[1, 3, 7]),
    ("engine.before_write", &[2, 4, 8]),
    ("engine.written", &[1, 5, 8]),
    ("engine.effect", &[1, 4, 7, 10]),
    ("engine.confirmed", &[2, 5]),
    ("engine.before_ack", &[2, 5]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_family_is_started_and_undone_once_whoever_dies() -> TestResult {
    bounded(Duration::from_secs(150), async {
        let broker = TestBroker::start().await?;
        let deaths = DEATHS.iter().flat_map(|(place, passages)| {
            let of = |passage| (*place, passage);
            passages.iter().copied().map(of)
        });
        try_join_all(deaths.map(|(place, passage)| orphan_at(&broker, place, passage))).await?;
        Ok(())
    })
    .await
}

async fn orphan_at(broker: &TestBroker, place: &str, passage: u32) -> TestResult {
    let namespace = format!("{}_{passage}", place.replace('.', "_"));
    let scene = Scene::new(broker, &namespace).await?;
    let failpoint = format!("{place}:{passage}");
    let mut doomed = scene.engine_with(&[("MCP_FAILPOINT", &failpoint)]).await;
    family::begin(&scene, "f", 0).await?;
    doomed.ended().await;
    let _healthy = scene.engine().await;
    family::check(&scene, "f")
        .await
        .map_err(|error| format!("{failpoint}: {error}").into())
}

#[test]
fn every_failpoint_of_the_engine_is_tried() {
    let known = failpoints_in("workflow-engine/src");
    let family = DEATHS.iter().map(|(place, _)| *place);
    let desk = at_the_desk::DEATHS.iter().map(|(place, _)| *place);
    let tried = PLACES.into_iter().chain(family).chain(desk);
    let tried: BTreeSet<String> = tried.map(str::to_owned).collect();
    assert_eq!(known, tried);
}
