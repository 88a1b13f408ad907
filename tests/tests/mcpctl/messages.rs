//! `mcpctl messages`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, run, spawn_probe};
use serde_json::{Value, json};

async fn submit(url: &str, agent: &str, action: &str, options: &[&str]) -> String {
    let command = ["send", agent, action, "--submit", "--json"];
    let document = run(url, &[&command, options].concat()).await.json();
    document["command_id"].as_str().expect("an id").to_owned()
}

async fn list(url: &str, filters: &[&str]) -> Value {
    let listed = run(url, &[&["messages", "list", "--json"], filters].concat()).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().expect("a list");
    messages
        .iter()
        .filter_map(|message| message["id"].as_str())
        .collect()
}

#[tokio::test]
async fn messages_are_found_by_state_agent_action_lane_and_age() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let queued = submit(url, "nobody", "echo", &["--priority", "high"]).await;
    let in_flight = submit(url, "probe", "sleep", &["-p", "{\"ms\": 600000}"]).await;
    let done = submit(url, "probe", "echo", &["-p", "7", "--wait", "20s"]).await;
    let permanent = r#"{"category": "PERMANENT"}"#;
    let fail = [
        "send", "probe", "fail", "-p", permanent, "--submit", "--wait", "20s", "--json",
    ];
    let dead = run(url, &fail).await.json()["command_id"]
        .as_str()
        .unwrap()
        .to_owned();
    eventually("all are where they belong", || async {
        let flying = list(url, &["--state", "in-flight"]).await;
        ids(&flying) == [&in_flight] && !ids(&list(url, &["--state", "dead"]).await).is_empty()
    })
    .await;

    let check = async |filters: &[&str], expected: &[&String]| {
        let page = list(url, filters).await;
        assert_eq!(ids(&page), expected, "{filters:?}: {page}");
        assert_eq!(page["more"], false);
    };
    check(&[], &[&queued, &in_flight, &done, &dead, &dead]).await;
    check(&["--state", "queued"], &[&queued]).await;
    check(&["--state", "done"], &[&done, &dead]).await;
    check(&["--state", "dead"], &[&dead]).await;
    check(&["--state", "dead", "--state", "queued"], &[&queued, &dead]).await;
    check(&["--agent", "nobody"], &[&queued]).await;
    check(&["--agent", "probe", "--action", "sleep"], &[&in_flight]).await;
    check(&["--lane", "high"], &[&queued]).await;
    check(&["--older-than", "1h"], &[]).await;
    check(&["--newer-than", "1h", "--agent", "nobody"], &[&queued]).await;

    let page = list(url, &["--limit", "2"]).await;
    assert_eq!((ids(&page).len(), &page["more"]), (2, &json!(true)));
    let table = run(url, &["messages", "list", "--limit", "2"]).await;
    assert!(table.stdout.starts_with("ID  "), "{table:?}");
    assert!(table.stdout.contains("nobody.echo"), "{table:?}");
    assert!(
        table.stderr.starts_with("there are more than these 2"),
        "{table:?}"
    );
    let nothing = run(url, &["messages", "list", "--agent", "stranger"]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, ""),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn one_message_is_shown_with_its_parameters_and_deleted() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let id = submit(url, "nobody", "echo", &["-p", r#"{"n": 7}"#]).await;

    let shown = run(url, &["messages", "show", &id, "--json"]).await;
    let document = shown.json();
    assert_eq!(
        (
            &document["state"],
            &document["lies_in"],
            &document["body"]["parameters"]
        ),
        (&json!("queued"), &json!("queue"), &json!({ "n": 7 })),
        "{shown:?}"
    );
    let expected = format!("{id}.1");
    assert_eq!(
        document["headers"]["Nats-Msg-Id"],
        expected.as_str(),
        "{shown:?}"
    );
    let people = run(url, &["messages", "show", &id, "--no-body"]).await;
    assert!(
        people.stdout.contains("command   nobody.echo"),
        "{people:?}"
    );
    assert!(!people.stdout.contains("parameters"), "{people:?}");

    let deleted = run(url, &["messages", "delete", &id]).await;
    assert_eq!(
        (deleted.code, deleted.stdout),
        (0, format!("deleted {id}\n"))
    );
    for verb in ["delete", "show"] {
        let gone = run(url, &["messages", verb, &id]).await;
        assert_eq!(gone.code, 1, "{gone:?}");
        assert!(gone.stderr.contains("there is no s"), "{gone:?}");
    }

    let _probe = spawn_probe(url, &[]).await;
    let done = submit(url, "probe", "echo", &["--wait", "20s"]).await;
    let kept = run(url, &["messages", "delete", &done, "--json"]).await;
    assert_eq!(kept.code, 1, "an outcome protects its key: {kept:?}");
    assert_eq!(kept.json()["failed"][0]["id"], done.as_str(), "{kept:?}");
}
