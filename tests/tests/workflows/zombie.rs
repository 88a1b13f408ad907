//! An engine that is stopped in the middle, loses its workflows, and wakes up when others have them.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::eventually;
use rustix::process::Signal;
use serde_json::json;

use crate::{TestResult, bounded, family, scene::Scene};

/// As those, of workflows with children and commands side by side that are undone in the end.
const FAMILY_SLEEPS_MS: [u64; 4] = [100, 150, 400, 1500];

/// How long the states of each workflow take: the stop finds them at different places.
const SLEEPS_MS: [u64; 8] = [0, 50, 300, 700, 1500, 2500, 4000, 6000];

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_wakes_after_its_lease_loses_and_spoils_nothing() -> TestResult {
    bounded(Duration::from_secs(120), wake_late(false)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_wakes_while_another_runs_the_state_loses_and_spoils_nothing() -> TestResult
{
    bounded(Duration::from_secs(120), wake_late(true)).await
}

/// With `meanwhile` it wakes as soon as the other has taken over the first workflow, else when that one is done.
async fn wake_late(meanwhile: bool) -> TestResult {
    let broker = TestBroker::start().await?;
    let scene = Scene::new(&broker, "mcp").await?;
    let zombie = scene.engine().await;
    let ids: Vec<String> = SLEEPS_MS.iter().map(|ms| format!("w{ms}")).collect();
    for (id, sleep_ms) in ids.iter().zip(SLEEPS_MS) {
        let data = json!({"sleep_ms": sleep_ms});
        scene
            .workflows
            .create_workflow("probe_pipeline", None, &data)
            .id(id)
            .await?;
    }
    let families = FAMILY_SLEEPS_MS.map(|ms| (format!("f{ms}"), ms));
    for (id, sleep_ms) in &families {
        family::begin(&scene, id, *sleep_ms).await?;
    }
    // The slowest are in `first` by now, the fastest at the gate.
    scene
        .until("w300", "it is in its second state", |record| {
            record.state.as_str() == "second"
        })
        .await;
    zombie.signal(Signal::STOP);
    let stopped_at = tokio::time::Instant::now();
    let other = scene.engine().await;
    match meanwhile {
        // The delivery in the record says who drives.
        true => {
            scene
                .until("w6000", "the other has taken over", |record| {
                    record
                        .driver
                        .as_ref()
                        .is_some_and(|driver| driver.delivery > 1)
                })
                .await
        }
        false => scene.until_at_the_gate("w1500").await,
    };
    assert!(
        stopped_at.elapsed() > Duration::from_secs(8),
        "the other has not waited for the lease: {:?}",
        stopped_at.elapsed()
    );
    zombie.signal(Signal::CONT);

    for id in &ids {
        scene.until_at_the_gate(id).await;
    }
    for id in &ids {
        scene
            .workflows
            .signal_workflow(id, "approve", json!({}))
            .await?;
    }
    for id in &ids {
        let record = scene.until_completed(id).await;
        scene.check_the_line(&record);
        scene.check_the_events(&record).await?;
    }
    for (id, _) in &families {
        family::check(&scene, id).await?;
    }
    scene.until_no_task_is_left().await;
    drop(other);
    // It has lost what it had, and works on: alone it takes the next one down the line.
    scene
        .workflows
        .create_workflow("probe_pipeline", None, json!({}))
        .id("next")
        .await?;
    scene.until_at_the_gate("next").await;
    scene
        .workflows
        .signal_workflow("next", "approve", json!({}))
        .await?;
    scene.check_the_line(&scene.until_completed("next").await);
    let noisy = zombie.stderr().contains("what it did not ask for");
    assert!(!noisy, "the zombie's log: {}", zombie.stderr());
    eventually("the zombie has nothing to do", || async {
        scene.runs().contains_key("next:third")
    })
    .await;
    Ok(())
}
