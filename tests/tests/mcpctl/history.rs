//! `mcpctl history`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{run, spawn_probe};

#[tokio::test]
async fn history_shows_what_an_instance_has_received_and_nothing_of_the_bodies() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let echo = run(url, &["send", "probe", "echo", "-p", "\"secret words\""]).await;
    assert_eq!(echo.code, 0, "{echo:?}");
    let fail = [
        "send",
        "probe",
        "fail",
        "-p",
        "{\"code\": \"GPU_GONE\", \"type\": \"PERMANENT\"}",
    ];
    assert_eq!(run(url, &fail).await.code, 1);

    let shown = run(url, &["history", "probe", "--json"]).await;
    assert!(!shown.stdout.contains("secret words"), "{shown:?}");
    let document = shown.json();
    let messages = document["instances"][0]["messages"]
        .as_array()
        .expect("messages");
    let received = messages
        .iter()
        .filter(|message| message["direction"] == "received");
    let ended: Vec<_> = received
        .map(|message| (&message["name"], &message["error"]))
        .collect();
    assert_eq!(
        serde_json::json!(ended),
        serde_json::json!([["echo", null], ["fail", "GPU_GONE"]])
    );
    let peer = messages[0]["peer"].as_str();
    assert!(peer.is_some_and(|peer| !peer.is_empty()), "{document}");

    let failed = run(url, &["history", "probe", "--failed"]).await;
    assert!(failed.stdout.contains("GPU_GONE"), "{failed:?}");
    assert!(!failed.stdout.contains("echo"), "{failed:?}");
    let last = run(url, &["history", "probe", "--limit", "1", "--json"]).await;
    let last = &last.json()["instances"][0]["messages"];
    assert_eq!(last.as_array().map(Vec::len), Some(1), "{last}");
}

#[tokio::test]
async fn history_of_an_agent_that_does_not_run_says_so() {
    let broker = TestBroker::start().await.unwrap();
    let shown = run(broker.url(), &["history", "nobody"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(
        shown.stderr.contains("no instance of `nobody` runs"),
        "{shown:?}"
    );
}
