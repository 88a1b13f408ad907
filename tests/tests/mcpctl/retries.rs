//! `mcpctl send` with retries and idempotency keys.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{run, spawn_probe};
use serde_json::json;

#[tokio::test]
async fn temporary_errors_are_retried_as_often_as_allowed() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let fail = async |parameters: &str, options: &[&str]| {
        let command = ["send", "probe", "fail", "--json", "-p", parameters];
        run(url, &[&command, options].concat()).await
    };

    let third = fail(r#"{"key": "a", "times": 2}"#, &["--retries", "2"]).await;
    let document = third.json();
    assert_eq!(
        (third.code, &document["result"], &document["attempt"]),
        (0, &json!({ "calls": 3 }), &json!(3)),
        "{third:?}"
    );

    let spent = fail(r#"{"key": "b"}"#, &["--retries", "2"]).await;
    assert_eq!(
        (spent.code, &spent.json()["error"]["details"]["calls"]),
        (1, &json!(3)),
        "{spent:?}"
    );
    assert!(spent.stderr.contains("3 attempts"), "{spent:?}");

    let permanent = r#"{"key": "c", "category": "PERMANENT"}"#;
    for (parameters, options) in [
        (r#"{"key": "d"}"#, &[][..]),
        (permanent, &["--retries", "5"]),
    ] {
        let once = fail(parameters, options).await;
        assert_eq!(
            (once.code, &once.json()["error"]["details"]["calls"]),
            (1, &json!(1)),
            "{once:?}"
        );
    }
}

#[tokio::test]
async fn delays_are_those_of_the_options_and_of_the_advice() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let check = async |parameters: &str, least: u64| {
        let delays = [
            "--retries",
            "2",
            "--base-delay",
            "200ms",
            "--max-delay",
            "300ms",
            "--jitter",
            "0",
        ];
        let command = ["send", "probe", "fail", "-p", parameters];
        let sent = run(url, &[&command[..], &delays].concat()).await;
        assert_eq!(sent.code, 0, "{sent:?}");
        assert!(sent.took >= Duration::from_millis(least), "{sent:?}");
    };
    // 200 ms, then 400 ms cut to 300 ms.
    check(r#"{"key": "a", "times": 2}"#, 500).await;
    check(r#"{"key": "b", "times": 1, "retry_delay_ms": 700}"#, 700).await;
}

#[tokio::test]
async fn same_key_is_answered_from_the_store_and_says_so() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let send = async |options: &[&str]| {
        let command = ["send", "probe", "count", "--idempotency-key", "order 17"];
        run(url, &[&command, options].concat()).await
    };
    let key = ["-p", r#"{"key": "k"}"#];

    let first = send(&key).await;
    assert_eq!(
        (first.json(), first.stderr.as_str()),
        (json!({ "count": 1 }), ""),
        "{first:?}"
    );
    let second = send(&key).await;
    assert_eq!(second.json(), json!({ "count": 1 }), "{second:?}");
    assert!(second.stderr.starts_with("replayed: "), "{second:?}");
    let third = send(&[&key[..], &["--json"]].concat()).await;
    assert_eq!(third.json()["replayed"], true, "{third:?}");

    let other = send(&["-p", r#"{"key": "other"}"#]).await;
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.stderr.contains("IDEMPOTENCY_CONFLICT"), "{other:?}");
}

#[tokio::test]
async fn unanswered_attempt_is_made_again_only_with_a_key() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let silent = [
        "send",
        "nobody",
        "echo",
        "--timeout",
        "3s",
        "--attempt-timeout",
        "200ms",
        "--retries",
        "2",
    ];

    let queued = run(url, &silent).await;
    assert_eq!(queued.code, 3, "{queued:?}");
    assert!(
        !queued.stderr.contains("attempts"),
        "it is queued, a second one would be done twice: {queued:?}"
    );
    let keyed = run(url, &[&silent[..], &["--idempotency-key", "k"]].concat()).await;
    assert_eq!(keyed.code, 3, "{keyed:?}");
    assert!(keyed.stderr.contains("after 3 attempts"), "{keyed:?}");
}
