//! `Workflows` as a client sees it: create, find, move on, keep and restore, and what is refused.

use std::time::Duration;

use mcp_agent_sdk::{TestBroker, WorkflowError, WorkflowFilter, WorkflowRecord, WorkflowStatus};
use serde_json::{Value, json};

use crate::{
    TestResult, bounded,
    scene::{Scene, path},
};

const LIMIT: Duration = Duration::from_secs(60);
const PIPELINE: &str = "probe_pipeline";

fn ids(records: &[WorkflowRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

/// The code and the sentence of a refusal.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, WorkflowError>) -> (String, String) {
    let error = outcome.expect_err("it is refused");
    (error.code().to_owned(), error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_start_finds_the_workflow_and_mistakes_are_named() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let workflows = &scene.workflows;
        let (code, text) = refusal(workflows.create_workflow(PIPELINE, None, json!({})).await);
        assert_eq!(code, "NO_SUCH_DEFINITION");
        assert!(
            text.contains("no agent with workflows has been started"),
            "{text}"
        );

        let engine = scene.engine().await;
        let create = || {
            workflows
                .create_workflow(PIPELINE, None, json!({"theme": 1}))
                .id("w")
        };
        let first = create().await?;
        assert_eq!(
            (first.state.as_str(), first.status),
            ("first", WorkflowStatus::Running)
        );
        create().await?;
        scene.until_at_the_gate("w").await;
        let other_data = workflows
            .create_workflow(PIPELINE, "third", json!({"theme": 2}))
            .id("w");
        let same = other_data.await?;
        assert_eq!(
            same.state.as_str(),
            "gate",
            "the workflow that is there is not touched"
        );
        assert_eq!(same.data::<Value>()?, json!({"theme": 1}));
        assert_eq!(scene.runs()["w:first"].len(), 1);

        let (code, text) = refusal(workflows.create_workflow("painting", None, json!({})).await);
        assert_eq!(code, "NO_SUCH_DEFINITION");
        assert!(
            text.contains("`painting`") && text.contains(PIPELINE),
            "{text}"
        );
        let (code, text) = refusal(
            workflows
                .create_workflow(PIPELINE, "fourth", json!({}))
                .await,
        );
        assert_eq!(code, "NO_SUCH_STATE");
        assert!(text.contains("first, second, gate, third, done"), "{text}");
        let (code, _) = refusal(workflows.get_workflow("not an id").await);
        assert_eq!(code, "INVALID_PARAMETERS");
        assert!(workflows.get_workflow("nobody").await?.is_none());
        let (code, _) = refusal(
            workflows
                .signal_workflow("nobody", "approve", json!({}))
                .await,
        );
        assert_eq!(code, "NO_SUCH_WORKFLOW");

        // A workflow exists from the moment its start is stored, whether an engine is there or not.
        drop(engine);
        workflows
            .create_workflow(PIPELINE, "second", json!({"n": 1}))
            .id("later")
            .await?;
        let later = workflows.get_workflow("later").await?.expect("it exists");
        assert_eq!(
            (later.state.as_str(), later.epoch),
            ("second", 0),
            "{later:?}"
        );
        let stop = workflows
            .stop_workflow("later")
            .timeout(Duration::from_millis(300))
            .await;
        assert!(
            matches!(stop, Err(WorkflowError::NoAnswer { .. })),
            "{stop:?}"
        );
        let _engine = scene.engine().await;
        let stopped = scene
            .until("later", "it is stopped", |record| {
                record.status == WorkflowStatus::Stopped && record.driver.is_none()
            })
            .await;
        assert!(
            ["second", "gate"].contains(&stopped.state.as_str()),
            "{stopped:?}"
        );
        scene.until_no_task_is_left().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_are_those_of_the_definition() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let workflows = &scene.workflows;
        let _engine = scene.engine().await;
        workflows
            .create_workflow(PIPELINE, "gate", json!({"a": 1, "b": 1}))
            .id("w")
            .await?;
        scene.until_at_the_gate("w").await;
        let code = |outcome| refusal(outcome).0;
        assert_eq!(
            code(workflows.transition_workflow("w", "first").await),
            "ILLEGAL_TRANSITION"
        );
        assert_eq!(
            code(workflows.transition_workflow("w", "fourth").await),
            "NO_SUCH_STATE"
        );
        let elsewhere = workflows
            .transition_workflow("w", "third")
            .expected_state("first");
        assert_eq!(code(elsewhere.await), "STATE_MISMATCH");
        assert_eq!(code(workflows.resume_workflow("w").await), "STATE_MISMATCH");
        let moved = workflows
            .transition_workflow("w", "third")
            .expected_state("gate");
        let moved = moved.data(json!({"b": 2, "c": [3]})).await?;
        assert_eq!(moved.history[0].trigger, "transition");
        let done = scene.until_completed("w").await;
        assert_eq!(path(&done), ["gate", "third", "done"]);
        assert_eq!(done.data::<Value>()?, json!({"a": 1, "b": 2, "c": [3]}));
        assert_eq!(code(workflows.stop_workflow("w").await), "WORKFLOW_ENDED");
        assert_eq!(
            code(workflows.signal_workflow("w", "approve", ()).await),
            "WORKFLOW_ENDED"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_the_last_updated_comes_first() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let workflows = &scene.workflows;
        let _engine = scene.engine().await;
        for id in ["a", "b", "c", "d"] {
            workflows
                .create_workflow(PIPELINE, "gate", json!({}))
                .id(id)
                .await?;
            scene.until_at_the_gate(id).await;
        }
        workflows.signal_workflow("b", "approve", json!({})).await?;
        let b = scene.until_completed("b").await;
        let c = workflows.stop_workflow("c").await?;
        let list = async |filter: WorkflowFilter| -> Result<Vec<String>, WorkflowError> {
            let found = workflows.list_workflows(&filter).await?;
            Ok(ids(&found).into_iter().map(str::to_owned).collect())
        };
        let all = WorkflowFilter::default;
        assert_eq!(list(all()).await?, ["c", "b", "d", "a"]);
        assert_eq!(list(all().limit(2)).await?, ["c", "b"]);
        assert_eq!(list(all().state("gate")).await?, ["c", "d", "a"]);
        assert_eq!(
            list(all().status(WorkflowStatus::Waiting)).await?,
            ["d", "a"]
        );
        let ended = all()
            .status(WorkflowStatus::Completed)
            .status(WorkflowStatus::Stopped);
        assert_eq!(list(ended.state("done")).await?, ["b"]);
        assert_eq!(
            list(all().updated_before(c.updated_at)).await?,
            ["b", "d", "a"]
        );
        assert_eq!(list(all().created_before(b.created_at)).await?, ["a"]);
        assert_eq!(list(all().definition("painting")).await?, [""; 0]);
        assert_eq!(list(all().definition(PIPELINE).limit(1)).await?, ["c"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_kept_listed_restored_and_deleted() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let workflows = &scene.workflows;
        let _engine = scene.engine().await;
        workflows
            .create_workflow(PIPELINE, None, json!({"theme": "ocean"}))
            .id("w")
            .await?;
        scene.until_at_the_gate("w").await;
        let kept = workflows
            .create_workflow_checkpoint("w", "at_the_gate")
            .await?;
        workflows
            .transition_workflow("w", "third")
            .data(json!({"theme": "desert"}))
            .await?;
        let done = scene.until_completed("w").await;
        assert_eq!(done.data::<Value>()?, json!({"theme": "desert"}));

        let restored = workflows
            .restore_workflow_checkpoint("w", "at_the_gate")
            .await?;
        assert_eq!(
            (restored.state.as_str(), restored.data::<Value>()?),
            ("gate", json!({"theme": "ocean"}))
        );
        assert!(
            restored.entry > done.entry,
            "effects after a restore are new effects"
        );
        workflows.signal_workflow("w", "approve", json!({})).await?;
        let again = scene.until_completed("w").await;
        assert_eq!(
            path(&again),
            [
                "first", "second", "gate", "third", "done", "gate", "third", "done"
            ]
        );
        assert_eq!(scene.runs()["w:third"].len(), 2, "{:?}", scene.runs());

        let listed = workflows.list_workflow_checkpoints("w").await?;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].state, kept.state);
        assert_eq!(listed[0].data.decode::<Value>()?, json!({"theme": "ocean"}));
        for _ in 0..9 {
            workflows.create_workflow_checkpoint("w", "many").await?;
        }
        let listed = workflows.list_workflow_checkpoints("w").await?;
        let many: Vec<_> = listed
            .iter()
            .filter(|kept| kept.name.as_str() == "many")
            .collect();
        assert_eq!(many.len(), 8, "eight of a name are kept");
        assert!(
            listed.is_sorted_by_key(|kept| kept.epoch),
            "the oldest first"
        );

        workflows
            .delete_workflow_checkpoint("w", "at_the_gate")
            .await?;
        let (code, _) = refusal(
            workflows
                .restore_workflow_checkpoint("w", "at_the_gate")
                .await,
        );
        assert_eq!(code, "NO_SUCH_CHECKPOINT");
        let (code, _) = refusal(
            workflows
                .delete_workflow_checkpoint("w", "at_the_gate")
                .await,
        );
        assert_eq!(code, "NO_SUCH_CHECKPOINT");
        assert_eq!(workflows.list_workflow_checkpoints("w").await?.len(), 8);
        scene.until_no_task_is_left().await;
        Ok(())
    })
    .await
}
