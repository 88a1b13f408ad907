//! `mcpctl send --submit` and `mcpctl outcome`.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Finished, eventually, run, spawn_probe};
use serde_json::{Value, json};

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field]
        .as_str()
        .unwrap_or_else(|| panic!("`{field}` is no text in {document}"))
}

async fn submit(url: &str, agent: &str, action: &str, options: &[&str]) -> Finished {
    let command = ["send", agent, action, "--submit", "--json"];
    run(url, &[&command, options].concat()).await
}

#[tokio::test]
async fn submitted_command_is_told_at_once_and_its_outcome_fetched_later() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();

    let stored = submit(url, "probe", "echo", &["-p", "7"]).await;
    assert_eq!(stored.code, 0, "nobody runs, and it is stored: {stored:?}");
    let document = stored.json();
    let id = text(&document, "command_id");
    assert_eq!(text(&document, "key"), id, "without a key it is the id");
    let keyed = run(
        url,
        &[
            "send",
            "probe",
            "echo",
            "--submit",
            "--idempotency-key",
            "order-17",
        ],
    )
    .await;
    assert!(
        keyed.stdout.starts_with("submitted ") && keyed.stdout.ends_with("\nkey       order-17\n"),
        "{keyed:?}"
    );

    let none = run(url, &["outcome", "probe", "echo", id, "--json"]).await;
    assert_eq!(
        (none.code, text(&none.json(), "state")),
        (1, "none"),
        "{none:?}"
    );
    let waited = run(url, &["outcome", "probe", "echo", id, "--wait", "300ms"]).await;
    assert_eq!(waited.code, 1, "{waited:?}");
    assert!(waited.took >= Duration::from_millis(300), "{waited:?}");
    assert!(
        waited
            .stderr
            .starts_with("error: none: nobody has begun with probe.echo"),
        "{waited:?}"
    );

    let _probe = spawn_probe(url, &[]).await;
    let done = run(
        url,
        &["outcome", "probe", "echo", id, "--wait", "20s", "--json"],
    )
    .await;
    let document = done.json();
    assert_eq!(
        (
            done.code,
            text(&document, "state"),
            text(&document, "command_id"),
            &document["result"]
        ),
        (0, "done", id, &json!(7)),
        "{done:?}"
    );
    let people = run(
        url,
        &["outcome", "probe", "echo", "order-17", "--wait", "20s"],
    )
    .await;
    assert_eq!(people.code, 0, "{people:?}");
    assert!(
        people.stdout.contains("state     done") && people.stdout.ends_with("{}\n"),
        "{people:?}"
    );
}

#[tokio::test]
async fn wait_brings_the_result_after_the_retries_of_the_runtime() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;

    let twice = ["-p", r#"{"key": "a", "times": 2}"#, "--wait", "20s"];
    let done = submit(url, "probe", "fail", &twice).await;
    let document = done.json();
    assert_eq!(
        (done.code, &document["result"], &document["attempt"]),
        (0, &json!({ "calls": 3 }), &json!(3)),
        "{done:?}"
    );
    assert!(
        done.stderr.contains(text(&document, "command_id")),
        "{done:?}"
    );
    let outcome = run(
        url,
        &["outcome", "probe", "fail", text(&document, "key"), "--json"],
    )
    .await;
    assert_eq!(
        outcome.json()["errors"].as_array().map(Vec::len),
        Some(2),
        "{outcome:?}"
    );

    let dead = run(url, &["dead", "list", "--json"]).await.json();
    assert_eq!(
        dead["dead_letters"],
        json!([]),
        "what succeeded in the end is not dead"
    );

    let spent = ["-p", r#"{"key": "b"}"#, "--retries", "1", "--wait", "20s"];
    let failed = submit(url, "probe", "fail", &spent).await;
    let document = failed.json();
    assert_eq!(
        (failed.code, text(&document["error"], "code")),
        (1, "PROBE_FAILED"),
        "{failed:?}"
    );
    let outcome = run(url, &["outcome", "probe", "fail", text(&document, "key")]).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stdout.contains("error 1") && outcome.stdout.contains("error 2"),
        "every attempt's error: {outcome:?}"
    );
    assert!(
        outcome
            .stderr
            .contains("probe.fail ended with PROBE_FAILED"),
        "{outcome:?}"
    );

    let late = submit(url, "nobody", "echo", &["--wait", "200ms"]).await;
    assert_eq!(
        (late.code, text(&late.json()["error"], "code")),
        (3, "TIMEOUT"),
        "{late:?}"
    );
    assert_ne!(text(&late.json(), "command_id"), "", "{late:?}");
}

#[tokio::test]
async fn command_that_will_be_tried_again_is_failing() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let patient = ["-p", r#"{"key": "a", "times": 1, "retry_delay_ms": 60000}"#];
    let document = submit(url, "probe", "fail", &patient).await.json();
    let key = text(&document, "key");
    eventually("the first attempt has failed", || async {
        let outcome = run(url, &["outcome", "probe", "fail", key, "--json"]).await;
        text(&outcome.json(), "state") == "failing"
    })
    .await;
    let failing = run(url, &["outcome", "probe", "fail", key]).await;
    assert_eq!(failing.code, 1, "{failing:?}");
    assert!(failing.stdout.contains("PROBE_FAILED"), "{failing:?}");
    assert!(
        failing.stderr.contains("probe.fail is not done: failing"),
        "{failing:?}"
    );
}
