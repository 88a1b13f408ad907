//! Two namespaces on one server know nothing of each other.

use std::time::Duration;

use mcp_agent_sdk::{TestBroker, WorkflowFilter};
use serde_json::json;

use crate::{TestResult, bounded, scene::Scene};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_in_two_namespaces_is_two_workflows() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let broker = TestBroker::start().await?;
        let (one, other) = (
            Scene::new(&broker, "one").await?,
            Scene::new(&broker, "other").await?,
        );
        let _engines = [one.engine().await, other.engine().await];
        for scene in [&one, &other] {
            let created = scene
                .workflows
                .create_workflow("probe_pipeline", None, json!({}));
            created.id("w").await?;
            scene.until_at_the_gate("w").await;
        }
        one.workflows
            .create_workflow_checkpoint("w", "mine")
            .await?;
        one.workflows
            .signal_workflow("w", "approve", json!({}))
            .await?;
        let done = one.until_completed("w").await;
        one.check_the_line(&done);
        one.check_the_events(&done).await?;
        let waiting = other.until_at_the_gate("w").await;
        assert!(waiting.signals.is_empty(), "{waiting:?}");
        assert!(
            other
                .workflows
                .list_workflow_checkpoints("w")
                .await?
                .is_empty()
        );
        let listed = other
            .workflows
            .list_workflows(&WorkflowFilter::default())
            .await?;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(
            other.effects().keys().collect::<Vec<_>>(),
            ["w:first", "w:second"]
        );
        Ok(())
    })
    .await
}
