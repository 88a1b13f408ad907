//! `mcpctl dev`: a server that keeps its data and leaves nothing behind.

use std::{fs, path::Path};

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Process, eventually, run, run_in, spawn};
use serde_json::{Value, json};

/// Starts it on a free port and returns what it says.
async fn dev(folder: &Path) -> (Process, Value) {
    let dev = spawn(folder, "", &["dev", "--port", "0", "--json"]).await;
    eventually("the server is ready", || {
        assert_eq!(dev.stderr(), "");
        let ready = dev.stdout().ends_with("}\n");
        async move { ready }
    })
    .await;
    let document = serde_json::from_str(&dev.stdout()).expect("one document");
    (dev, document)
}

fn url(document: &Value) -> &str {
    document["url"].as_str().expect("a URL")
}

fn runs(pid: &Value) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn data_survives_a_restart_and_sigterm_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, document) = dev(dir.path()).await;
    let kept = run(
        url(&document),
        &[
            "send",
            "later",
            "echo",
            "-p",
            "1",
            "--timeout",
            "100ms",
            "--ttl",
            "1h",
        ],
    )
    .await;
    assert_eq!(kept.code, 3, "nobody answers, but it is stored: {kept:?}");
    assert!(runs(&document["pid"]));
    assert!(first.terminate().await.success(), "{}", first.stderr());
    assert!(
        !runs(&document["pid"]),
        "the server must not outlive mcpctl"
    );

    let (mut second, document) = dev(dir.path()).await;
    let report = run(url(&document), &["setup", "--json"]).await.json();
    let commands = report["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stream| stream["stream"] == "mcp_commands");
    assert_eq!(
        commands.map(|stream| &stream["messages"]),
        Some(&json!(1)),
        "{report}"
    );
    assert!(
        dir.path().join(".mcp/.gitignore").exists(),
        "the default folder keeps out of version control"
    );
    assert!(second.terminate().await.success());
}

#[tokio::test]
async fn death_of_the_server_is_told_and_is_exit_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dev, document) = dev(dir.path()).await;
    let pid = document["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(dev.ended().await.code(), Some(3));
    assert!(
        dev.stderr()
            .contains("nats-server ended by itself (signal: 9"),
        "{}",
        dev.stderr()
    );
}

#[tokio::test]
async fn taken_port_or_folder_is_told_with_what_to_do() {
    let mut broker = TestBroker::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = broker.server().port().to_string();
    let taken = run_in(dir.path(), "", &["dev", "--port", &port]).await;
    assert_eq!(taken.code, 2, "{taken:?}");
    assert!(
        taken
            .stderr
            .contains(&format!("runs already at {}; use that one", broker.url())),
        "{taken:?}"
    );

    let folder = fs::canonicalize(broker.dir()).unwrap();
    let in_use = run_in(
        dir.path(),
        "",
        &[
            "dev",
            "--port",
            "0",
            "--data",
            &folder.display().to_string(),
        ],
    )
    .await;
    assert_eq!(in_use.code, 2, "{in_use:?}");
    assert!(
        in_use
            .stderr
            .contains("is in use by another server (process "),
        "{in_use:?}"
    );
}
