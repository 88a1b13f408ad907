//! The probe's family: compensation, children and commands side by side in one workflow, for tests in which engines die.

use mcp_agent_sdk::{CompensationProgress, WorkflowStatus};
use serde_json::json;

use crate::{
    TestResult,
    scene::{Scene, path},
};

/// Starts a family in which everything takes so long.
pub(crate) async fn begin(scene: &Scene, id: &str, sleep_ms: u64) -> TestResult {
    let data = json!({ "sleep_ms": sleep_ms });
    let create = scene.workflows.create_workflow("probe_family", None, data);
    create.id(id).await?;
    Ok(())
}

/// Waits for the end of a family. Everything in it was done and undone, each once, and told once.
pub(crate) async fn check(scene: &Scene, id: &str) -> TestResult {
    let failed = scene
        .until(id, "it has failed, and is undone", |record| {
            record.status == WorkflowStatus::Failed
        })
        .await;
    assert_eq!(path(&failed), ["spread", "start", "gather", "fail"]);
    let error = failed.error.as_ref().map(|error| error.code.as_str());
    assert_eq!(error, Some("PROBE_FAILED"), "{failed:?}");
    let steps = failed.compensation.iter().flat_map(|it| &it.steps);
    let steps: Vec<_> = steps
        .map(|step| (step.state.as_str(), step.progress))
        .collect();
    let done = CompensationProgress::Done;
    assert_eq!(steps, [("spread", done), ("start", done)], "{failed:?}");
    let children = failed.children.iter();
    let children: Vec<_> = children
        .map(|child| (child.label.as_str(), child.status))
        .collect();
    let completed = Some(WorkflowStatus::Completed);
    assert_eq!(children, [("one", completed), ("two", completed)]);

    let effects = scene.effects();
    let own = |key: &&String| key.split([':', '-']).next() == Some(id);
    let taken: Vec<&String> = effects.keys().filter(own).collect();
    let expected = [
        "--2-one:work",
        "--2-two:work",
        ":spread:a",
        ":spread:b",
        ":spread:c",
        ":undo:spread",
        ":undo:start",
    ];
    let expected = expected.map(|effect| format!("{id}{effect}"));
    assert_eq!(taken, expected.iter().collect::<Vec<_>>());
    let once = |key: &&String| effects[*key].len() == 1;
    assert!(taken.iter().all(once), "{effects:?}");

    scene.until_no_task_is_left().await;
    let names = ["started", "compensating", "failed", "completed", "stopped"];
    assert_eq!(scene.count_events(id, &names).await?, [1, 1, 1, 0, 0]);
    for child in &failed.children {
        let counts = scene.count_events(child.id.as_str(), &names).await?;
        assert_eq!(counts, [1, 0, 0, 1, 0], "{}", child.id);
    }
    Ok(())
}
