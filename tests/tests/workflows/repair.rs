//! What is lost from outside is found and helped: tasks, timers, checkpoints of workflows that are gone.

use std::time::Duration;

use mcp_agent_sdk::{
    Ailment, Client, McpError, TestBroker, Workflow, WorkflowContext, WorkflowState,
    WorkflowStatus, WorkflowTransitionResult as Then,
};
use mcp_tests::eventually;
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::Scene,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Everything that was written before now.
const NOW: Duration = Duration::ZERO;

/// As an administrator would by mistake; waits until there is something to purge.
async fn purge(client: &Client, subject: &str) {
    let purged = || async {
        let Ok(stream) = client.jetstream().get_stream("mcp_tasks_0").await else {
            return false;
        };
        stream
            .purge()
            .filter(subject)
            .await
            .is_ok_and(|answer| answer.purged > 0)
    };
    eventually("there is something to purge", purged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_whose_task_was_purged_gets_another_and_goes_on() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let mut engine = scene.engine().await;
        let workflows = &scene.workflows;
        let data = json!({ "sleep_ms": 1_000 });
        workflows
            .create_workflow("probe_pipeline", None, data)
            .id("w")
            .await?;
        scene
            .until("w", "it runs its second state", |record| {
                record.state.as_str() == "second"
            })
            .await;
        assert_eq!(workflows.ailments(NOW).await?, [], "it has its task");
        engine.kill().await;
        purge(&scene.client, "mcp.wf.probe_pipeline.0.start.w").await;

        let found = workflows.ailments(NOW).await?;
        let [ailment @ Ailment::Abandoned(ailing)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(ailing.workflow_id.as_str(), "w");
        assert_eq!(
            workflows.ailments(Duration::from_secs(3_600)).await?,
            [],
            "not old enough"
        );
        assert!(workflows.heal(ailment).await?);
        assert!(!workflows.heal(ailment).await?, "it has been helped");
        assert_eq!(workflows.ailments(NOW).await?, []);
        let _engine = scene.engine().await;
        let record = scene.until_at_the_gate("w").await;
        assert_eq!(record.error, None);
        workflows.signal_workflow("w", "approve", json!({})).await?;
        let record = scene.until_completed("w").await;
        scene.check_the_line(&record);
        Ok(())
    })
    .await
}

/// The note by which the engine of its version would find it was lost with its bucket.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_workflow_that_its_engine_has_not_heard_of_is_woken() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let desk = |version| {
            Workflow::new("desk")
                .version(version)
                .state("open", WorkflowState::wait_for("close").then("closed"))
                .state("closed", WorkflowState::end())
        };
        let first = author.engine(desk("1")).await?;
        let create = author.workflows.create_workflow("desk", None, json!({}));
        create.id("w").await?;
        author.until_status("w", WorkflowStatus::Waiting).await;
        first.drain().await;
        let _second = author.engine(desk("2")).await?;
        let told = author.workflows.signal_workflow("w", "close", json!({}));
        assert!(told.timeout(Duration::from_millis(300)).await.is_err());
        author.until_status("w", WorkflowStatus::Parked).await;
        assert_eq!(
            author.workflows.ailments(NOW).await?,
            [],
            "it waits rightly"
        );
        let definitions = author
            .client
            .jetstream()
            .get_stream("KV_mcp_definitions")
            .await?;
        let note = "$KV.mcp_definitions.desk.1.parked.w";
        eventually("its note is there", || async {
            let purged = definitions.purge().filter(note).await;
            purged.is_ok_and(|it| it.purged == 1)
        })
        .await;
        let _first = author.engine(desk("1")).await?;
        let found = author.workflows.ailments(NOW).await?;
        let [ailment @ Ailment::Stranded(_)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(author.workflows.heal(ailment).await?);
        author.until_status("w", WorkflowStatus::Completed).await;
        assert_eq!(author.workflows.ailments(NOW).await?, []);
        Ok(())
    })
    .await
}

async fn nap(ctx: WorkflowContext<Journal>, _: Value) -> Result<Then, McpError> {
    match ctx.timed_out() {
        true => Ok(Then::complete()),
        false => Ok(Then::after(Duration::from_secs(2))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_was_purged_is_made_up_for() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let sleeper = Workflow::new("sleeper").state("nap", WorkflowState::run(nap).completes());
        let _engine = author.engine(sleeper).await?;
        author
            .workflows
            .create_workflow("sleeper", None, json!({}))
            .id("w")
            .await?;
        author.until_status("w", WorkflowStatus::Waiting).await;
        purge(&author.client, "mcp.timer.sleeper.0.w").await;
        assert_eq!(
            author.workflows.ailments(NOW).await?,
            [],
            "its time has not passed"
        );
        let overslept = || async {
            author
                .workflows
                .ailments(NOW)
                .await
                .is_ok_and(|found| !found.is_empty())
        };
        eventually("its time passes", overslept).await;
        let found = author.workflows.ailments(NOW).await?;
        assert!(
            matches!(found.as_slice(), [Ailment::Overslept(_)]),
            "{found:?}"
        );
        assert!(author.workflows.heal(&found[0]).await?);
        author.until_status("w", WorkflowStatus::Completed).await;
        assert!(
            !author.workflows.heal(&found[0]).await?,
            "it has been helped"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_go_with_a_workflow_that_is_gone_and_with_no_other() -> TestResult {
    bounded(LIMIT, async {
        let broker = TestBroker::start().await?;
        let scene = Scene::new(&broker, "mcp").await?;
        let workflows = &scene.workflows;
        let _engine = scene.engine().await;
        for id in ["gone", "here"] {
            workflows
                .create_workflow("probe_pipeline", "gate", json!({}))
                .id(id)
                .await?;
            scene.until_at_the_gate(id).await;
            workflows.create_workflow_checkpoint(id, "before").await?;
        }
        scene.until_no_task_is_left().await;
        let records = scene
            .client
            .jetstream()
            .get_key_value("mcp_workflows_0")
            .await?;
        records.delete("gone").await?;
        let found = workflows.ailments(NOW).await?;
        let [ailment @ Ailment::OrphanedCheckpoint { workflow_id, .. }] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(workflow_id.as_str(), "gone");
        assert!(workflows.heal(ailment).await?);
        assert!(!workflows.heal(ailment).await?, "it is gone");
        assert_eq!(workflows.list_workflow_checkpoints("gone").await?, []);
        assert_eq!(workflows.list_workflow_checkpoints("here").await?.len(), 1);
        Ok(())
    })
    .await
}
