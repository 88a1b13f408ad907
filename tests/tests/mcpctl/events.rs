//! `mcpctl events`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, run, spawn};
use serde_json::{Value, json};

#[tokio::test]
async fn published_events_are_shown_from_any_point() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    for n in ["1", "2", "3"] {
        let published = run(
            url,
            &["events", "publish", "counted", "-p", n, "--source", "clerk"],
        )
        .await;
        assert_eq!(published.code, 0, "{published:?}");
    }
    run(url, &["events", "publish", "slept", "--source", "guard"]).await;

    let all = run(
        url,
        &["events", "tail", "--since", "1h", "--count", "4", "--json"],
    )
    .await;
    let events: Vec<Value> = all
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["name"].as_str())
        .collect();
    assert_eq!(names, ["counted", "counted", "counted", "slept"]);
    assert_eq!(
        (&events[2]["data"], &events[2]["source"]),
        (&json!(3), &json!("clerk"))
    );
    assert_eq!(events[3]["data"], json!({}), "no data is the empty map");

    let filtered = run(
        url,
        &[
            "events", "tail", "--since", "all", "--source", "guard", "--count", "1",
        ],
    )
    .await;
    assert_eq!(filtered.code, 0, "{filtered:?}");
    assert!(filtered.stdout.contains("guard.slept"), "{filtered:?}");
}

#[tokio::test]
async fn tail_follows_new_events_until_it_is_ended() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    run(url, &["events", "publish", "old_news"]).await;
    let mut tail = spawn(broker.dir(), url, &["events", "tail"]).await;
    eventually("the tail follows", || async {
        tail.stderr().contains("waiting for events")
    })
    .await;
    run(url, &["events", "publish", "fresh_news", "-p", "\"hello\""]).await;
    eventually("the event is shown", || async {
        tail.stdout().contains("mcpctl.fresh_news  \"hello\"")
    })
    .await;
    assert!(!tail.stdout().contains("old_news"), "{}", tail.stdout());
    assert!(tail.terminate().await.success());
}
