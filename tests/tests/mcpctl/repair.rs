//! `mcpctl doctor --repair`: what is lost from outside is told, with what would help, and then helped.

use mcp_agent_sdk::{Client, Config, TestBroker, WorkflowStatus, Workflows, runtime::transport};
use mcp_tests::{Finished, eventually, run, spawn_probe};
use serde_json::{Value, json};

async fn doctor(url: &str, more: &[&str]) -> Finished {
    run(
        url,
        &[&["doctor", "--older-than", "0s", "--json"], more].concat(),
    )
    .await
}

/// Level, text and remedy of what the doctor says about something; empty where it says nothing.
fn says(report: &Finished, subject: &str) -> [String; 3] {
    let report = report.json();
    let checks = report["checks"].as_array().expect("a report has checks");
    let found = checks.iter().find(|check| check["subject"] == subject);
    ["level", "text", "remedy"].map(|field| {
        let text = found.and_then(|check| check[field].as_str());
        text.unwrap_or_default().to_owned()
    })
}

/// As an administrator would by mistake: a task that an engine had, and a record whose checkpoints stay.
async fn lose(client: &Client) {
    let jetstream = client.jetstream();
    let tasks = jetstream.get_stream("mcp_tasks_0").await.expect("a stream");
    let start = "mcp.wf.probe_pipeline.0.start.lost";
    let purged = tasks.purge().filter(start).await.expect("it is purged");
    assert_eq!(purged.purged, 1);
    let records = jetstream.get_key_value("mcp_workflows_0").await;
    let records = records.expect("a bucket");
    records.delete("gone").await.expect("it is deleted");
}

#[tokio::test]
async fn what_was_lost_is_told_and_then_helped() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let mut probe = spawn_probe(url, &[]).await;
    let client = Client::connect(Config::new(url).name("test"))
        .await
        .unwrap();
    let workflows = Workflows::new(&client);
    let create = |id, data: Value| {
        workflows
            .create_workflow("probe_pipeline", None, data)
            .id(id)
    };
    let until = async |id: &str, status: WorkflowStatus, state: &str| {
        eventually(&format!("`{id}` is {status} in `{state}`"), || async {
            let record = workflows.get_workflow(id).await.ok().flatten();
            record.is_some_and(|it| it.status == status && it.state.as_str() == state)
        })
        .await;
    };
    create("gone", json!({})).await.unwrap();
    until("gone", WorkflowStatus::Waiting, "gate").await;
    let keep = workflows.create_workflow_checkpoint("gone", "before");
    keep.await.unwrap();
    create("lost", json!({"sleep_ms": 700})).await.unwrap();
    until("lost", WorkflowStatus::Running, "second").await;
    probe.kill().await;
    lose(&client).await;

    let (workflow, checkpoint) = ("workflow lost", "checkpoint before of gone");
    let definition = "definition probe_pipeline 1";
    let ill = doctor(url, &[]).await;
    assert_eq!(ill.code, 1, "{ill:?}");
    let [level, text, remedy] = says(&ill, workflow);
    assert_eq!(
        (level.as_str(), remedy.as_str()),
        ("fail", "`mcpctl doctor --repair` gives it a new one")
    );
    assert!(text.contains("has no task"), "{text}");
    let [level, _, remedy] = says(&ill, checkpoint);
    assert_eq!(
        (level.as_str(), remedy.as_str()),
        ("warn", "`mcpctl doctor --repair` removes it")
    );
    let helped = doctor(url, &["--repair"]).await;
    assert_eq!(helped.code, 0, "{helped:?}");
    assert!(
        says(&helped, workflow)[1].ends_with("it has a new one"),
        "{helped:?}"
    );
    assert!(
        says(&helped, checkpoint)[1].ends_with("removed"),
        "{helped:?}"
    );
    let well = doctor(url, &["--repair"]).await;
    let nothing = ["", "", ""].map(str::to_owned);
    assert_eq!(
        [says(&well, workflow), says(&well, checkpoint)],
        [nothing.clone(), nothing.clone()]
    );
    // That one nothing but its agent can help.
    eventually("the dead engine is not shown any more", || async {
        let instances = transport::instances(&client).await;
        instances.is_ok_and(|instances| instances.is_empty())
    })
    .await;
    let [level, text, remedy] = says(&doctor(url, &[]).await, definition);
    assert_eq!(
        (level.as_str(), remedy.as_str()),
        ("warn", "start the agent that brings it")
    );
    assert!(text.contains("1 workflow waits"), "{text}");
    let _probe = spawn_probe(url, &[]).await;
    until("lost", WorkflowStatus::Waiting, "gate").await;
    assert_eq!(says(&doctor(url, &[]).await, definition), nothing);
}
