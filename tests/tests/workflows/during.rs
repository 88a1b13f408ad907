//! What is asked of a workflow in the middle of a state: nothing is lost, the state runs once, and it takes effect after.

use std::time::Duration;

use mcp_agent_sdk::{ControlWorkflow, TestBroker, WorkflowError, WorkflowRecord, WorkflowStatus};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    TestResult, bounded,
    scene::{Scene, path},
};

/// How long the state takes: longer than a delivery may stay unacknowledged, so that its lease has to be renewed.
const STATE: Duration = Duration::from_secs(12);

type Answer = JoinHandle<Result<WorkflowRecord, WorkflowError>>;

/// Sends a request, and waits until it lies in the inbox of its workflow.
async fn ask(scene: &Scene, request: ControlWorkflow, place: usize) -> Answer {
    let answer = tokio::spawn(async move { request.await });
    scene
        .until("w", "the request is in the inbox", |record| {
            record.inbox.len() == place
        })
        .await;
    answer
}

async fn begin(scene: &Scene) -> Result<Instant, WorkflowError> {
    let state_ms = u64::try_from(STATE.as_millis()).expect("it is short");
    let data = json!({"sleep_ms": state_ms, "theme": "ocean"});
    scene
        .workflows
        .create_workflow("probe_pipeline", None, &data)
        .id("w")
        .await?;
    Ok(Instant::now())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_a_checkpoint_and_a_stop_during_a_state_take_effect_after_it() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let _engines = [scene.engine().await, scene.engine().await];
        let began = begin(&scene).await?;
        let workflows = &scene.workflows;
        let signal = workflows.signal_workflow("w", "approve", json!({"by": "Ada"}));
        let signal = ask(&scene, signal, 1).await;
        let checkpoint = workflows.create_workflow_checkpoint("w", "before_stop");
        let checkpoint = ask(&scene, checkpoint, 2).await;
        let stop = workflows.stop_workflow("w").reason("enough");
        let stop = ask(&scene, stop, 3).await;
        let stopping = workflows.get_workflow("w").await?.unwrap();
        assert!(began.elapsed() < STATE, "asked too late to test anything");
        assert_eq!(
            stopping.status,
            WorkflowStatus::Stopped,
            "a stop shows at once"
        );
        assert_eq!(stopping.state.as_str(), "first");

        let (signalled, kept, stopped) = (signal.await??, checkpoint.await??, stop.await??);
        assert!(began.elapsed() >= STATE, "the state was not waited for");
        assert_eq!(signalled.signals.len(), 1, "{signalled:?}");
        assert_eq!(
            signalled.signals[0].data.decode::<Value>()?,
            json!({"by": "Ada"})
        );
        assert!(kept.epoch <= stopped.epoch, "{kept:?} {stopped:?}");
        assert_eq!(stopped.status, WorkflowStatus::Stopped);
        let end = scene
            .until("w", "it has come to rest", |record| record.driver.is_none())
            .await;
        assert_eq!(end.stop_reason.as_deref(), Some("enough"));
        assert_eq!(
            path(&end),
            ["first", "second"],
            "the result of the state is kept"
        );
        let checkpoints = workflows.list_workflow_checkpoints("w").await?;
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
        assert_eq!(checkpoints[0].state.as_str(), "second");
        assert_eq!(checkpoints[0].data.decode::<Value>()?, end.data::<Value>()?);
        scene.until_no_task_is_left().await;
        let runs = scene.runs();
        assert_eq!(runs.keys().collect::<Vec<_>>(), ["w:first"]);
        assert_eq!(runs["w:first"].len(), 1, "{runs:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_a_checkpoint_during_a_state_let_it_go_on() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let _engines = [scene.engine().await, scene.engine().await];
        begin(&scene).await?;
        let workflows = &scene.workflows;
        let checkpoint = workflows.create_workflow_checkpoint("w", "early");
        let checkpoint = ask(&scene, checkpoint, 1).await;
        let signal = workflows.signal_workflow("w", "approve", json!({}));
        let signal = ask(&scene, signal, 2).await;
        checkpoint.await??;
        signal.await??;
        let record = scene.until_completed("w").await;
        scene.check_the_line(&record);
        scene.check_the_events(&record).await?;
        assert!(record.signals.is_empty(), "{record:?}");
        let checkpoints = workflows.list_workflow_checkpoints("w").await?;
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
        scene.until_no_task_is_left().await;
        let runs = scene.runs();
        assert!(runs.values().all(|runs| runs.len() == 1), "{runs:?}");
        Ok(())
    })
    .await
}
