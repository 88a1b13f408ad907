//! `mcpctl setup` and `mcpctl doctor`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{run, spawn_probe};
use serde_json::Value;

fn check<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("a report has checks");
    checks
        .iter()
        .find(|check| check["subject"] == subject)
        .unwrap_or_else(|| panic!("no `{subject}` in {report}"))
}

#[tokio::test]
async fn setup_says_what_it_created_and_what_was_there() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let created = |report: &Value| {
        let streams = report["streams"].as_array().unwrap();
        (
            streams.len(),
            streams
                .iter()
                .filter(|stream| stream["created"] == true)
                .count(),
        )
    };
    let first = run(url, &["setup", "--shards", "2", "--json"]).await;
    assert_eq!(
        (first.code, created(&first.json())),
        (0, (13, 13)),
        "{first:?}"
    );
    let second = run(url, &["setup", "--json"]).await;
    assert_eq!(
        (second.code, created(&second.json())),
        (0, (13, 0)),
        "{second:?}"
    );
    assert_eq!(second.json()["shards"], 2);

    let table = run(url, &["setup"]).await;
    assert!(
        table.stdout.contains("bucket mcp_checkpoints_1"),
        "{table:?}"
    );

    let other = run(url, &["setup", "--shards", "3"]).await;
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other.stderr.contains("workflow shards is 2, expected 3"),
        "{other:?}"
    );
}

#[tokio::test]
async fn doctor_changes_nothing_and_names_the_remedy() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let sick = run(url, &["doctor", "--json"]).await;
    assert_eq!(
        (sick.code, &sick.json()["ok"]),
        (1, &Value::Bool(false)),
        "{sick:?}"
    );
    assert_eq!(
        check(&sick.json(), "topology")["remedy"],
        "create what is missing with `mcpctl setup`"
    );
    let again = run(url, &["doctor"]).await;
    assert_eq!(
        again.code, 1,
        "a doctor who creates streams hides the illness: {again:?}"
    );

    run(url, &["setup"]).await;
    let well = run(url, &["doctor", "--json"]).await;
    assert_eq!(
        (well.code, &well.json()["ok"]),
        (0, &Value::Bool(true)),
        "{well:?}"
    );
    for subject in [
        "server",
        "jetstream",
        "topology",
        "replicas",
        "dead letters",
        "clock",
    ] {
        assert_eq!(check(&well.json(), subject)["level"], "ok", "{well:?}");
    }
}

#[tokio::test]
async fn doctor_sees_commands_that_wait_and_streams_that_were_changed() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let client = broker.client().await.unwrap();
    drop(spawn_probe(url, &[]).await);
    run(
        url,
        &[
            "send",
            "nobody",
            "echo",
            "--timeout",
            "100ms",
            "--ttl",
            "1h",
        ],
    )
    .await;
    let report = run(url, &["doctor", "--json"]).await.json();
    let waiting = check(&report, "agent nobody");
    assert_eq!(waiting["level"], "warn", "{waiting}");
    assert!(
        waiting["text"]
            .as_str()
            .unwrap()
            .contains("1 command waits"),
        "{waiting}"
    );
    assert_eq!(check(&report, "agent probe")["level"], "ok");

    // As an older release has made it: it works, and is less safe.
    let outcomes = client.jetstream().get_stream("KV_mcp_outcomes").await;
    let mut outcomes = outcomes.unwrap().cached_info().config.clone();
    outcomes.allow_rollup = true;
    client.jetstream().update_stream(&outcomes).await.unwrap();
    let report = run(url, &["doctor", "--json"]).await.json();
    let topology = check(&report, "topology");
    assert_eq!(topology["level"], "warn", "{topology}");
    for part in [
        "bucket `mcp_outcomes`: rollup headers is on",
        "mcpctl setup --upgrade",
    ] {
        assert!(topology.to_string().contains(part), "{topology}");
    }
    run(url, &["setup", "--upgrade"]).await;
    let report = run(url, &["doctor", "--json"]).await.json();
    assert_eq!(check(&report, "topology")["level"], "ok", "{report}");

    let mut events = client
        .jetstream()
        .get_stream("mcp_events")
        .await
        .unwrap()
        .get_info()
        .await
        .unwrap()
        .config;
    events.max_age = std::time::Duration::from_secs(60 * 60);
    events.duplicate_window = std::time::Duration::from_secs(60);
    client.jetstream().update_stream(&events).await.unwrap();
    let report = run(url, &["doctor"]).await;
    assert_eq!(report.code, 1, "{report:?}");
    assert!(
        report
            .stdout
            .contains("stream `mcp_events`: maximum age is 1h, expected 7d"),
        "{report:?}"
    );
}
