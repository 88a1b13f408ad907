//! The protocol judged from outside: a Python client that knows only `PROTOCOL.md` drives the probe.

use std::process::Stdio;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{mcpctl, spawn_probe, workspace};
use tokio::process::Command;

/// Runs a group of checks against a probe on a server of its own.
async fn conforms(group: &str) {
    let broker = TestBroker::start().await.expect("a server can be started");
    let effects = broker.dir().join("effects");
    let _probe = spawn_probe(
        broker.url(),
        &[
            "--effects-file",
            effects.to_str().expect("the path is UTF-8"),
        ],
    )
    .await;
    let python = workspace().join(".tools/venv/bin/python");
    assert!(
        python.exists(),
        "no Python for the conformance client; run `make tools`"
    );
    let run = Command::new(python)
        .arg(workspace().join("tests/conformance/run.py"))
        .args([
            "--server",
            broker.url(),
            "--agent",
            "probe",
            "--group",
            group,
            "--fuzz",
            "10000",
        ])
        .arg("--mcpctl")
        .arg(mcpctl())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = run.await.expect("python can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The client's own count, so that a run of nothing cannot pass.
    let passed: u32 = text
        .lines()
        .rev()
        .find_map(|line| line.split_once(" passed")?.0.parse().ok())
        .expect("the client prints how many checks passed");
    assert!(passed > 0, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_replies_events_and_dead_letters_follow_the_protocol() {
    conforms("spine,presence,notices,workflow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_follow_the_protocol() {
    conforms("packs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_idempotency_follow_the_protocol() {
    conforms("reliability").await;
}
