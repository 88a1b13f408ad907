//! What a killed server keeps although it is done: `mcpctl doctor` finds it, and removes nothing else.

use std::{fs, path::Path};

use mcp_agent_sdk::{Client, TestBroker};
use mcp_tests::{eventually, run, spawn_probe};
use serde_json::{Value, json};

/// Where the server keeps the messages of the commands, apart from what its consumers have acknowledged.
const MESSAGES: &str = "jetstream/$G/streams/mcp_commands/msgs";

async fn queued(client: &Client) -> u64 {
    let stream = client.jetstream().get_stream("mcp_commands").await;
    let stream = stream.expect("the stream is there");
    stream.cached_info().state.messages
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn of_queue(report: &Value) -> Option<&Value> {
    let checks = report["checks"].as_array()?;
    checks
        .iter()
        .find(|check| check["subject"] == "queue of probe_normal")
}

/// The crash by hand: the acknowledgements are on the disk, the removal of the messages is not.
#[tokio::test]
async fn doctor_removes_what_is_done_and_was_kept_and_leaves_what_waits() {
    let mut broker = TestBroker::start().await.unwrap();
    let client = broker.client().await.unwrap();
    let submit = || async {
        let submitted = client.submit_command("probe", "echo", json!({}));
        submitted.await.unwrap();
    };
    submit().await;
    submit().await;
    let (messages, aside) = (broker.dir().join(MESSAGES), broker.dir().join("aside"));
    broker.kill().await.unwrap();
    copy(&messages, &aside).unwrap();
    broker.restart().await.unwrap();
    let url = broker.url().to_owned();
    let mut probe = spawn_probe(&url, &[]).await;
    eventually("both are done", || async { queued(&client).await == 0 }).await;
    assert!(probe.terminate().await.success());
    broker.stop().await.unwrap();
    copy(&aside, &messages).unwrap();
    broker.restart().await.unwrap();
    submit().await;
    assert_eq!(queued(&client).await, 3);
    // What the server keeps in memory went with it; agents create that again when they come.
    run(&url, &["setup"]).await;

    let report = run(&url, &["doctor", "--json"]).await.json();
    let found = of_queue(&report).unwrap_or_else(|| panic!("not found: {report}"));
    assert_eq!(found["level"], "warn");
    assert_eq!(found["text"], "2 messages are done and were kept");
    run(&url, &["doctor", "--repair"]).await;
    assert_eq!(queued(&client).await, 1, "what waits is left");
    let report = run(&url, &["doctor", "--json"]).await.json();
    assert_eq!(of_queue(&report), None, "{report}");

    let _probe = spawn_probe(&url, &[]).await;
    eventually("what waited is done", || async {
        queued(&client).await == 0
    })
    .await;
}
