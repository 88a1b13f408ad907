//! `mcpctl cancel`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, run, spawn_probe};

/// Submits a command that takes long, and returns its id.
async fn long_command(url: &str) -> String {
    let sleep = [
        "send",
        "probe",
        "sleep",
        "-p",
        "{\"ms\": 600000}",
        "--submit",
        "--json",
    ];
    let document = run(url, &sleep).await.json();
    document["command_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn running_and_queued_commands_are_cancelled() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &["--capacity", "1"]).await;
    let running = long_command(url).await;
    eventually("it runs", || async {
        let outcome = run(url, &["outcome", "probe", "sleep", &running, "--json"]).await;
        outcome.json()["state"] == "reserved"
    })
    .await;
    let queued = long_command(url).await;

    for id in [&queued, &running] {
        let told = run(url, &["cancel", "probe", id]).await;
        assert_eq!(told.code, 0, "{told:?}");
        assert_eq!(
            told.stdout,
            format!("told one instance of probe to cancel {id}\n")
        );
    }
    for id in [&running, &queued] {
        let ended = run(
            url,
            &["outcome", "probe", "sleep", id, "--wait", "20s", "--json"],
        )
        .await;
        assert_eq!(
            (ended.code, ended.json()["error"]["code"].as_str()),
            (1, Some("CANCELLED")),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn cancel_that_nobody_hears_is_told() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let id = long_command(url).await;
    let unheard = run(url, &["cancel", "probe", &id]).await;
    assert_eq!(unheard.code, 1, "{unheard:?}");
    assert!(
        unheard.stderr.contains("no instance of `probe` runs"),
        "{unheard:?}"
    );
    let remedy = format!("mcpctl messages delete {id}");
    assert!(unheard.stderr.contains(&remedy), "{unheard:?}");
    let json = run(url, &["cancel", "probe", &id, "--json"]).await;
    assert_eq!(json.json()["instances"], 0, "{json:?}");

    let key = run(url, &["cancel", "probe", "order-17"]).await;
    assert_eq!(key.code, 2, "{key:?}");
}
