//! `mcpctl doctor` on a secured cluster: all is well, then a server is away, then most of them.

use std::time::Instant;

use mcp_tests::{Cluster, Finished, PATIENCE, run_in, run_with};
use rustix::process::Signal;
use serde_json::Value;

use crate::TestResult;

fn level(report: &Value, subject: &str) -> Option<String> {
    let checks = report["checks"].as_array()?;
    let found = checks.iter().find(|check| check["subject"] == subject)?;
    found["level"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_with_a_cluster_and_the_remedy() -> TestResult {
    let folder = tempfile::tempdir()?;
    for order in [&["auth", "init"][..], &["auth", "agent", "add", "writer"]] {
        let done = run_in(folder.path(), "", order).await;
        assert_eq!(done.code, 0, "{done:?}");
    }
    let mut cluster = Cluster::start_secured(3, &folder.path().join("auth/server")).await;
    let url = cluster.url();
    let place = |name: &str| folder.path().join("auth").join(name).display().to_string();
    let (admin, writer, system) = (
        place("identities/mcp/admin"),
        place("identities/mcp/writer"),
        place("system"),
    );
    let run = async |who: &str, arguments: &[&str]| -> Finished {
        let identity = [
            ("MCP_AUTH", who),
            ("MCP_SYSTEM_AUTH", &*system),
            ("MCP_REPLICAS", "3"),
        ];
        run_with(folder.path(), &url, arguments, &identity).await
    };
    let applied = run(&admin, &["auth", "apply"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");

    let report = run(&admin, &["doctor", "--json"]).await.json();
    for subject in [
        "rights",
        "versions",
        "clocks",
        "topology",
        "replicas",
        "consumers",
    ] {
        assert_eq!(
            level(&report, subject).as_deref(),
            Some("ok"),
            "{subject}: {report:#}"
        );
    }
    assert_eq!(
        level(&report, "sync").as_deref(),
        Some("warn"),
        "{report:#}"
    );
    // An agent may not look, and is told so at once.
    let refused = run(&writer, &["doctor"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stdout.contains("as the administrator"),
        "{refused:?}"
    );

    cluster.end(2, Signal::KILL).await;
    let killed = Instant::now();
    // The one that is away may have led the others: until they have chosen another, nobody answers.
    let mut report = Value::Null;
    while level(&report, "replicas").is_none() {
        assert!(killed.elapsed() < PATIENCE, "{report:#}");
        report = run(&admin, &["doctor", "--json"]).await.json();
    }
    assert_eq!(
        level(&report, "replicas").as_deref(),
        Some("warn"),
        "{report:#}"
    );
    assert!(
        report.to_string().contains("look after the server"),
        "{report:#}"
    );

    // Without a majority nothing can be asked, but who is there and what to do is said.
    cluster.end(1, Signal::KILL).await;
    let mut lost = run(&admin, &["doctor", "--json"]).await;
    let killed = Instant::now();
    while level(&lost.json(), "jetstream").as_deref() != Some("fail") {
        assert!(killed.elapsed() < PATIENCE, "{lost:?}");
        lost = run(&admin, &["doctor", "--json"]).await;
    }
    assert_eq!(lost.code, 1, "{lost:?}");
    assert!(
        lost.stdout.contains("start those that are away"),
        "{lost:?}"
    );
    assert_eq!(level(&lost.json(), "versions").as_deref(), Some("ok"));
    Ok(())
}
