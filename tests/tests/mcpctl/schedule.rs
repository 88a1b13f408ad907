//! `mcpctl workflow schedule`, and `mcpctl workflow list` page by page.

use std::env;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Finished, eventually, run, spawn, spawn_probe};
use serde_json::json;

async fn schedule(url: &str, arguments: &[&str]) -> Finished {
    run(
        url,
        &[&["workflow", "schedule"], arguments, &["--json"]].concat(),
    )
    .await
}

#[tokio::test]
async fn schedules_are_added_run_paused_and_removed() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let add = [
        "add",
        "nightly",
        "--cron",
        "0 2 * * *",
        "--zone",
        "Europe/Berlin",
    ];
    let start = ["--start", "probe_pipeline"];
    let add = [&add[..], &start].concat();
    let nobody = schedule(url, &add).await;
    assert_eq!(nobody.code, 2, "{nobody:?}");
    assert!(nobody.stderr.contains("schedule run"), "{nobody:?}");

    let _probe = spawn_probe(url, &[]).await;
    let mut runner = spawn(&env::temp_dir(), url, &["workflow", "schedule", "run"]).await;
    eventually("the schedule is added", || async {
        schedule(url, &add).await.code == 0
    })
    .await;
    let twice = schedule(url, &add).await;
    assert!(twice.stderr.contains("already"), "{twice:?}");
    let wrong = schedule(url, &["add", "x", "--cron", "0 2 * *", "--start", "y"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("5 fields"), "{wrong:?}");

    let ran = schedule(url, &["run-now", "nightly"]).await.json();
    assert_eq!((&ran["fired"], &ran["error"]), (&json!(1), &json!(null)));
    let id = ran["last"]["id"].as_str().unwrap();
    let started = run(url, &["workflow", "show", id]).await;
    assert_eq!(started.code, 0, "{started:?}");
    let paused = schedule(url, &["pause", "nightly"]).await.json();
    assert_eq!(
        (&paused["paused"], &paused["next"]),
        (&json!(true), &json!(null))
    );
    let resumed = schedule(url, &["resume", "nightly"]).await.json();
    assert!(resumed["next"].is_u64(), "{resumed}");

    let list = ["workflow", "list", "--limit", "1", "--json"];
    let first = run(url, &list).await.json();
    let next = first["next"].as_str().expect("there are two");
    let second = run(url, &[&list[..], &["--after", next]].concat())
        .await
        .json();
    assert_eq!(
        (&second["more"], &second["next"]),
        (&json!(false), &json!(null))
    );
    assert_ne!(first["workflows"][0]["id"], second["workflows"][0]["id"]);
    let unknown = run(url, &["workflow", "list", "--where", "customer=acme"]).await;
    assert!(
        unknown.stderr.contains(".index(\"customer\")"),
        "{unknown:?}"
    );

    assert_eq!(schedule(url, &["remove", "nightly"]).await.code, 0);
    let left = schedule(url, &["list"]).await.json();
    assert_eq!(left["schedules"], json!([]));
    assert!(runner.terminate().await.success());
}
