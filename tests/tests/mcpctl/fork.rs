//! `mcpctl workflow start --fork-of`: another workflow begins where one was.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Finished, run, spawn_probe};
use serde_json::{Value, json};

async fn workflow(url: &str, arguments: &[&str]) -> Finished {
    run(url, &[&["workflow"], arguments, &["--json"]].concat()).await
}

async fn document(url: &str, arguments: &[&str]) -> Value {
    let finished = workflow(url, arguments).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.json()
}

#[tokio::test]
async fn a_fork_begins_at_the_checkpoint_with_other_data() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let data = r#"{"theme": "sea", "length": 3}"#;
    document(
        url,
        &["start", "probe_pipeline", "--id", "a", "-p", data, "--wait"],
    )
    .await;
    document(url, &["checkpoint", "a", "before"]).await;
    let origin = document(url, &["signal", "a", "approve"]).await;

    let fork = ["start", "probe_pipeline", "--fork-of", "a", "--checkpoint"];
    let of = |more: &[&'static str]| [&fork, more].concat();
    let same = of(&["before", "--id", "b", "--wait"]);
    let same = document(url, &same).await;
    assert_eq!(
        (&same["state"], &same["status"], &same["parent"]),
        (&json!("gate"), &json!("waiting"), &json!("a"))
    );
    assert_eq!(same["data"], json!({"theme": "sea", "length": 3}));
    let other = of(&[
        "before",
        "--id",
        "c",
        "-p",
        r#"{"theme": "storm"}"#,
        "--wait",
    ]);
    let other = document(url, &other).await;
    assert_eq!(other["data"], json!({"theme": "storm", "length": 3}));
    assert_eq!(
        other["history"],
        json!([]),
        "what was before is not done again"
    );
    assert_eq!(origin["id"], "a");

    let none = workflow(url, &of(&["after"])).await;
    assert_eq!(none.code, 1, "{none:?}");
    assert_eq!(none.json()["error"]["code"], "NO_SUCH_CHECKPOINT");
    assert!(
        none.stderr.contains("`a` has no checkpoint `after`"),
        "{none:?}"
    );
    let half = workflow(url, &["start", "probe_pipeline", "--fork-of", "a"]).await;
    assert_eq!(half.code, 2, "{half:?}");
    assert!(half.stderr.contains("--checkpoint"), "{half:?}");
}
