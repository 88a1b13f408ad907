//! `mcpctl workflow`, against the pipeline that the probe hosts.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Finished, PATIENCE, Process, run, spawn, spawn_probe};
use serde_json::{Value, json};
use std::env;

/// Runs `mcpctl workflow` with these arguments.
async fn workflow(url: &str, arguments: &[&str]) -> Finished {
    run(url, &[&["workflow"], arguments].concat()).await
}

/// As [`workflow`] with `--json`: the document of a command that succeeds.
async fn document(url: &str, arguments: &[&str]) -> Value {
    let finished = workflow(url, &[arguments, &["--json"]].concat()).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.json()
}

/// The document of a command that is refused with exit code 1: which code, and the sentence.
async fn refused(url: &str, arguments: &[&str]) -> (String, String) {
    let finished = workflow(url, &[arguments, &["--json"]].concat()).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    let code = finished.json()["error"]["code"].as_str().map(str::to_owned);
    (code.expect("an error has a code"), finished.stderr)
}

/// Starts the pipeline and waits until it stands at the gate.
async fn at_the_gate(url: &str, id: &str) -> Value {
    let start = ["start", "probe_pipeline", "--id", id, "--wait"];
    let record = document(url, &start).await;
    assert_eq!(
        (&record["state"], &record["status"]),
        (&json!("gate"), &json!("waiting")),
        "{record}"
    );
    record
}

async fn probe(url: &str) -> (tempfile::TempDir, Process) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let effects = folder.path().join("effects");
    let effects = effects.to_str().expect("a path in ASCII");
    let probe = spawn_probe(url, &["--effects-file", effects]).await;
    (folder, probe)
}

#[tokio::test]
async fn pipeline_is_started_shown_signalled_and_watched_to_its_end() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = probe(url).await;
    at_the_gate(url, "order-17").await;

    let shown = workflow(url, &["show", "order-17"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in [
        "definition  probe_pipeline, version ",
        "status      waiting",
        "waits for   the signal approve",
        "  first   start  ",
        "  second  state  ",
        " so far, waiting for the signal approve\n",
    ] {
        assert!(
            shown.stdout.contains(part),
            "`{part}` is missing: {shown:?}"
        );
    }

    let arguments = ["workflow", "watch", "order-17", "--json"];
    let mut watch = spawn(&env::temp_dir(), url, &arguments).await;
    mcp_tests::eventually("the watch sees it wait", || async {
        watch.stdout().contains("\"waits_for\":[\"approve\"]")
    })
    .await;
    let record = document(
        url,
        &["signal", "order-17", "approve", "-p", "{\"by\": \"Ada\"}"],
    )
    .await;
    assert_eq!(record["id"], "order-17");
    assert_eq!(watch.ended().await.code(), Some(0), "{}", watch.stderr());
    let changes = watch.stdout();
    let changes: Vec<Value> = changes
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is a document"))
        .collect();
    let moved =
        |change: &Value| Some((change["to"].as_str()?.to_owned(), change["trigger"].clone()));
    let moves: Vec<_> = changes.iter().filter_map(moved).collect();
    assert_eq!(
        moves,
        [
            ("third".to_owned(), json!("signal approve")),
            ("done".to_owned(), json!("state"))
        ]
    );
    assert_eq!(changes.last().unwrap()["status"], "completed");

    let again = workflow(url, &["watch", "order-17"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.ends_with("done: completed\n"), "{again:?}");
    // A start that is repeated starts nothing.
    let same = document(url, &["start", "probe_pipeline", "--id", "order-17"]).await;
    assert_eq!(same["status"], "completed");
}

#[tokio::test]
async fn workflows_are_found_by_definition_status_state_and_age() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = probe(url).await;
    at_the_gate(url, "a").await;
    at_the_gate(url, "b").await;
    let stopped = document(url, &["stop", "b", "--reason", "too late"]).await;
    assert_eq!(
        (&stopped["status"], &stopped["stop_reason"]),
        (&json!("stopped"), &json!("too late"))
    );

    let check = async |filters: &[&str], expected: &[&str]| {
        let found = document(url, &[&["list"], filters].concat()).await;
        let ids = found["workflows"].as_array().unwrap().iter();
        let ids: Vec<&str> = ids.filter_map(|record| record["id"].as_str()).collect();
        assert_eq!(ids, expected, "{filters:?}");
    };
    check(&[], &["b", "a"]).await;
    check(&["--status", "waiting"], &["a"]).await;
    check(&["--status", "stopped", "--status", "waiting"], &["b", "a"]).await;
    check(
        &["--state", "gate", "--definition", "probe_pipeline"],
        &["b", "a"],
    )
    .await;
    check(&["--state", "third"], &[]).await;
    check(&["--definition", "other"], &[]).await;
    check(&["--older-than", "1h"], &[]).await;
    check(&["--idle", "1ms", "--older-than", "1ms"], &["b", "a"]).await;
    let page = document(url, &["list", "--limit", "1"]).await;
    assert_eq!(page["more"], true, "{page}");
    let table = workflow(url, &["list"]).await.stdout;
    assert!(table.contains("the signal approve"), "{table}");

    let watched = workflow(url, &["watch", "b"]).await;
    assert_eq!(watched.code, 1, "{watched:?}");
    assert!(
        watched
            .stderr
            .contains("workflow `b` was stopped: too late"),
        "{watched:?}"
    );
}

#[tokio::test]
async fn checkpoint_is_restored_and_deleted() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = probe(url).await;
    at_the_gate(url, "w1").await;
    document(url, &["checkpoint", "w1", "before_edit"]).await;
    let moved = [
        "transition",
        "w1",
        "third",
        "--expect",
        "gate",
        "-p",
        "{\"edited\": true}",
    ];
    document(url, &moved).await;
    let ended = workflow(url, &["watch", "w1"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let listed = document(url, &["checkpoints", "w1"]).await;
    assert_eq!(listed["checkpoints"][0]["state"], "gate", "{listed}");

    let restored = document(url, &["restore", "w1", "before_edit"]).await;
    assert_eq!(
        (&restored["state"], &restored["data"]["edited"]),
        (&json!("gate"), &Value::Null),
        "{restored}"
    );
    let deleted = document(url, &["delete-checkpoint", "w1", "before_edit"]).await;
    assert_eq!(
        deleted,
        json!({ "workflow_id": "w1", "deleted": "before_edit" })
    );
    mcp_tests::eventually("it is gone", || async {
        document(url, &["checkpoints", "w1"]).await == json!({ "checkpoints": [] })
    })
    .await;
}

#[tokio::test]
async fn failed_workflow_is_exit_code_1_and_resumes() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = probe(url).await;
    let data = json!({ "fail_state": "second" }).to_string();
    let start = [
        "start",
        "probe_pipeline",
        "--id",
        "w1",
        "-p",
        &data,
        "--wait",
    ];
    let failed = workflow(url, &[&start[..], &["--json"]].concat()).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let record = failed.json();
    assert_eq!(
        (&record["status"], &record["state"]),
        (&json!("failed"), &json!("second")),
        "{record}"
    );
    assert!(
        failed.stderr.contains("`mcpctl workflow resume w1`"),
        "{failed:?}"
    );
    let shown = workflow(url, &["show", "w1"]).await;
    assert!(shown.stdout.contains("\nerror       "), "{shown:?}");
    let resumed = document(url, &["resume", "w1"]).await;
    assert_eq!(
        resumed["entry"].as_u64(),
        record["entry"].as_u64().map(|entry| entry + 1),
        "{resumed}"
    );
    let again = workflow(url, &["watch", "w1"]).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert!(
        again.stdout.contains("second: failed after PROBE_FAILED"),
        "{again:?}"
    );
}

#[tokio::test]
async fn mistakes_are_told_with_their_code_and_remedy() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = probe(url).await;
    at_the_gate(url, "w1").await;
    let check = async |arguments: &[&str], code: &str, part: &str| {
        let (found, sentence) = refused(url, arguments).await;
        assert_eq!(found, code, "{sentence}");
        assert!(sentence.contains(part), "`{part}` is missing: {sentence}");
    };
    check(&["show", "w2"], "NO_SUCH_WORKFLOW", "mcpctl workflow list").await;
    check(&["watch", "w2"], "NO_SUCH_WORKFLOW", "`w2`").await;
    check(&["checkpoints", "w2"], "NO_SUCH_WORKFLOW", "`w2`").await;
    check(&["signal", "w2", "x"], "NO_SUCH_WORKFLOW", "`w2`").await;
    check(&["start", "film"], "NO_SUCH_DEFINITION", "probe_pipeline").await;
    check(&["graph", "film"], "NO_SUCH_DEFINITION", "probe_pipeline").await;
    let elsewhere = ["start", "probe_pipeline", "--state", "nowhere"];
    check(&elsewhere, "NO_SUCH_STATE", "nowhere").await;
    check(&["transition", "w1", "nowhere"], "NO_SUCH_STATE", "nowhere").await;
    check(
        &["transition", "w1", "first"],
        "ILLEGAL_TRANSITION",
        "graph",
    )
    .await;
    let unexpected = ["transition", "w1", "third", "--expect", "first"];
    check(&unexpected, "STATE_MISMATCH", "gate").await;
    check(&["restore", "w1", "x"], "NO_SUCH_CHECKPOINT", "checkpoints").await;
    document(url, &["stop", "w1"]).await;
    check(&["signal", "w1", "approve"], "WORKFLOW_ENDED", "restore").await;

    for arguments in [
        &["list", "--status", "lost"][..],
        &["show", "not an id"],
        &["start", "Not A Name"],
        &["start", "probe_pipeline", "-p", "Ada"],
        &["start", "probe_pipeline", "--timeout", "1s"],
    ] {
        let misuse = workflow(url, arguments).await;
        assert_eq!(misuse.code, 2, "{misuse:?}");
    }
}

#[tokio::test]
async fn definitions_and_graph_outlive_their_engine_and_requests_wait_for_the_next() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let nothing = workflow(url, &["definitions"]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, ""),
        "{nothing:?}"
    );
    let (_folder, mut engine) = probe(url).await;
    let known = document(url, &["definitions"]).await;
    let definition = &known["definitions"][0];
    assert_eq!(definition["name"], "probe_pipeline", "{known}");
    assert_eq!(definition["engines"][0]["agent"], "probe", "{known}");
    let graph = workflow(url, &["graph", "probe_pipeline"]).await;
    assert_eq!(graph.code, 0, "{graph:?}");
    assert!(graph.stdout.starts_with("stateDiagram-v2\n"), "{graph:?}");
    for part in ["first --> second", "gate --> third", "done --> [*]"] {
        assert!(
            graph.stdout.contains(part),
            "`{part}` is missing: {graph:?}"
        );
    }
    engine.terminate().await;

    let known = document(url, &["definitions"]).await;
    assert_eq!(known["definitions"][0]["engines"], json!([]), "{known}");
    let start = [
        "start",
        "probe_pipeline",
        "--id",
        "w1",
        "--wait",
        "--timeout",
        "1s",
    ];
    let waits = workflow(url, &start).await;
    assert_eq!(waits.code, 3, "{waits:?}");
    assert!(
        waits.stderr.contains("mcpctl workflow definitions"),
        "{waits:?}"
    );
    let unanswered = workflow(url, &["signal", "w1", "approve", "--timeout", "500ms"]).await;
    assert_eq!(unanswered.code, 3, "{unanswered:?}");
    let silent = workflow(url, &["watch", "w1", "--timeout", "300ms", "--json"]).await;
    assert_eq!(silent.code, 3, "{silent:?}");
    for line in silent.stdout.lines() {
        let _: Value = serde_json::from_str(line).expect("each line is a document");
    }
    let _probe = probe(url).await;
    // The signal waited, too.
    let patience = format!("{}s", PATIENCE.as_secs());
    let ended = workflow(url, &["watch", "w1", "--timeout", &patience]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}
