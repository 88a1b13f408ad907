//! `mcpctl backup` and `mcpctl restore`: a system is saved while it runs, its server's disk is lost, and it goes on.

use std::{fs, path::Path, time::Duration};

use mcp_agent_sdk::{
    Agent, Client, Name, RunningAgent, TestBroker, Workflow, WorkflowState, WorkflowStatus,
    Workflows,
};
use mcp_tests::{Finished, eventually, run, spawn_probe};
use serde_json::{Value, json};

use crate::backup::Held::{Empty, Full};

/// The server loses its disk, and comes back without it.
async fn wipe(broker: &mut TestBroker) {
    broker.kill().await.expect("the server is killed");
    fs::remove_dir_all(broker.dir().join("jetstream")).expect("its disk is lost");
    broker.restart().await.expect("it starts again");
}

/// An engine of a workflow that waits for a time: the server keeps a timer.
async fn napper(client: &Client) -> RunningAgent {
    let nap = WorkflowState::wait_for("never")
        .then("woken")
        .within(Duration::from_secs(4), "rested");
    let definition = Workflow::new("nap")
        .state("nap", nap)
        .state("woken", WorkflowState::end())
        .state("rested", WorkflowState::end());
    let agent = Agent::new("napper").workflow(definition);
    let client = client.named(Name::new("napper").expect("a name"));
    agent.start(&client).await.expect("the agent starts")
}

async fn until(client: &Client, id: &str, status: WorkflowStatus) {
    let workflows = Workflows::new(client);
    eventually(&format!("{id} is {status:?}"), || async {
        matches!(workflows.get_workflow(id).await, Ok(Some(record)) if record.status == status)
    })
    .await;
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

/// What a system of this test is made of: two workflows that wait for somebody, one for a time, an outcome, a command that
/// nobody has taken yet, a dead letter, a checkpoint.
async fn fill(url: &str, client: &Client) {
    let ok = |finished: Finished| assert_eq!(finished.code, 0, "{finished:?}");
    for id in ["order-1", "order-2"] {
        ok(run(
            url,
            &["workflow", "start", "probe_pipeline", "--id", id, "--wait"],
        )
        .await);
    }
    ok(run(url, &["workflow", "checkpoint", "order-1", "before"]).await);
    let once = [
        "send",
        "probe",
        "effect",
        "-p",
        r#"{"key": "e"}"#,
        "--idempotency-key",
        "once",
    ];
    ok(run(url, &once).await);
    ok(run(
        url,
        &[
            "send",
            "nobody",
            "echo",
            "-p",
            "7",
            "--submit",
            "--idempotency-key",
            "later",
        ],
    )
    .await);
    let fails = [
        "send",
        "probe",
        "fail",
        "-p",
        r#"{"category": "PERMANENT"}"#,
        "--submit",
    ];
    ok(run(url, &fails).await);
    eventually("a dead letter", || async {
        let letters = run(url, &["dead", "list", "--json"]).await.json();
        letters["dead_letters"]
            .as_array()
            .is_some_and(|letters| letters.len() == 1)
    })
    .await;
    let nap = Workflows::new(client);
    nap.create_workflow("nap", None, json!({}))
        .id("nap-1")
        .await
        .expect("the workflow begins");
    until(client, "nap-1", WorkflowStatus::Waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_workflows_go_on_after_the_servers_disk_is_lost() {
    let mut broker = TestBroker::start().await.unwrap();
    let url = broker.url().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let (effects, saved) = (folder.path().join("effects"), folder.path().join("saved"));
    let client = broker.client().await.unwrap();
    let mut probe = spawn_probe(&url, &["--effects-file", path(&effects)]).await;
    let engine = napper(&client).await;
    fill(&url, &client).await;

    let backup = run(&url, &["backup", path(&saved), "--json"]).await;
    assert_eq!(backup.code, 0, "{backup:?}");
    let report = backup.json();
    assert_eq!(
        (&report["in_hand"], &report["paused"]),
        (&json!(0), &json!(true))
    );
    let alive = run(
        &url,
        &["send", "probe", "echo", "-p", "1", "--timeout", "10s"],
    )
    .await;
    assert_eq!(alive.code, 0, "deliveries go on after a backup: {alive:?}");
    probe.kill().await;
    drop(engine);
    wipe(&mut broker).await;
    let gone = run(&url, &["workflow", "show", "order-1"]).await;
    assert_ne!(gone.code, 0, "{gone:?}");

    let restored = run(&url, &["restore", path(&saved)]).await;
    assert_eq!(restored.code, 0, "{restored:?}");
    let client = broker.client().await.unwrap();
    until(&client, "order-1", WorkflowStatus::Waiting).await;
    let _probe = spawn_probe(&url, &["--effects-file", path(&effects)]).await;
    let _nobody = spawn_probe(&url, &["--name", "nobody"]).await;
    let _engine = napper(&client).await;
    for id in ["order-1", "order-2"] {
        let signal = run(&url, &["workflow", "signal", id, "approve"]).await;
        assert_eq!(signal.code, 0, "{signal:?}");
        until(&client, id, WorkflowStatus::Completed).await;
    }
    until(&client, "nap-1", WorkflowStatus::Completed).await;
    let nap = Workflows::new(&client)
        .get_workflow("nap-1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(nap.state.as_str(), "rested", "the timer fired");

    let before = run(&url, &["workflow", "checkpoints", "order-1", "--json"]).await;
    assert!(before.stdout.contains("before"), "{before:?}");
    let later = run(
        &url,
        &[
            "outcome", "nobody", "echo", "later", "--wait", "20s", "--json",
        ],
    )
    .await;
    assert_eq!(
        later.json()["result"],
        7,
        "the queued command is done: {later:?}"
    );
    let replay = [
        "send",
        "probe",
        "effect",
        "-p",
        r#"{"key": "e"}"#,
        "--idempotency-key",
        "once",
    ];
    let replay = run(&url, &[&replay[..], &["--json"]].concat()).await;
    assert_eq!(replay.json()["replayed"], true, "{replay:?}");
    let effected = fs::read_to_string(&effects).unwrap();
    assert_eq!(
        effected
            .lines()
            .filter(|line| line.starts_with("e "))
            .count(),
        1
    );
    let letters = run(&url, &["dead", "list", "--json"]).await.json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(1));
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    Empty,
    Full,
}

#[tokio::test]
async fn a_restore_overwrites_nothing_unless_it_is_told_to() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let unset = run(url, &["backup", path(&saved)]).await;
    assert_eq!(unset.code, 2, "there is nothing to save: {unset:?}");
    run(url, &["setup"]).await;
    let publish = ["events", "publish", "made", "-p", "1"];
    assert_eq!(run(url, &publish).await.code, 0);
    assert_eq!(run(url, &["backup", path(&saved)]).await.code, 0);

    let check = async |held: Held, more: &[&str], code: i32, part: &str| {
        if held == Empty {
            for stream in ["mcp_events", "mcp_commands"] {
                let client = broker.client().await.unwrap();
                client
                    .jetstream()
                    .get_stream(stream)
                    .await
                    .unwrap()
                    .purge()
                    .await
                    .unwrap();
            }
        }
        let done = run(url, &[&["restore", path(&saved)], more].concat()).await;
        assert_eq!(done.code, code, "{done:?}");
        assert!(
            format!("{}{}", done.stdout, done.stderr).contains(part),
            "{part}: {done:?}"
        );
    };
    check(
        Full,
        &[],
        2,
        "holds messages, which would be lost: stream mcp_events (1)",
    )
    .await;
    check(Full, &["--force"], 0, "agents can be started").await;
    check(Empty, &[], 0, "agents can be started").await;
    check(
        Full,
        &["--namespace", "other"],
        2,
        "is of the namespace `mcp`",
    )
    .await;
    check(
        Full,
        &["--force", "--replicas", "3"],
        1,
        "replicas > 1 not supported",
    )
    .await;
    // The refusal came after the old streams had gone: the backup is there, and it is simply done again.
    check(Full, &["--force"], 0, "agents can be started").await;

    let twice = run(url, &["backup", path(&saved)]).await;
    assert!(
        twice.code == 2 && twice.stderr.contains("is not empty"),
        "{twice:?}"
    );
    let probe = spawn_probe(url, &[]).await;
    let purged = broker.client().await.unwrap();
    for stream in ["mcp_events", "KV_mcp_definitions"] {
        purged
            .jetstream()
            .get_stream(stream)
            .await
            .unwrap()
            .purge()
            .await
            .unwrap();
    }
    check(
        Full,
        &[],
        2,
        "agents are running, which would begin with half of it: probe",
    )
    .await;
    drop(probe);

    let snapshot = saved.join("mcp_events.snapshot");
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    check(Full, &["--force"], 2, "mcp_events.snapshot is damaged").await;
    let report: Value = run(url, &["doctor", "--json"]).await.json();
    assert_eq!(
        report["ok"], true,
        "a damaged backup touches nothing: {report}"
    );
}
