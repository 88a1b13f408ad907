//! `mcpctl setup --upgrade`, as an administrator meets it.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::run;
use serde_json::json;

#[tokio::test]
async fn upgrade_shows_changes_or_refuses_and_tells_why() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    run(url, &["setup"]).await;
    let nothing = run(url, &["setup", "--upgrade"]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, "everything is up to date\n")
    );

    let client = broker.client().await.unwrap();
    let events = client.jetstream().get_stream("mcp_events").await.unwrap();
    let mut old = events.get_info().await.unwrap().config;
    old.max_age = Duration::from_secs(3_600);
    client.jetstream().update_stream(&old).await.unwrap();
    let refused = run(url, &["setup"]).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("`mcpctl setup --upgrade`"),
        "{refused:?}"
    );
    let plan = run(url, &["setup", "--upgrade", "--dry-run", "--json"])
        .await
        .json();
    assert_eq!(plan["carried_out"], false);
    assert_eq!(
        plan["changes"][0]["differences"],
        json!([{ "setting": "maximum age", "found": "1h", "expected": "7days" }])
    );
    let done = run(url, &["setup", "--upgrade"]).await;
    assert!(
        done.code == 0 && done.stdout.ends_with("1 changed; nothing was lost\n"),
        "{done:?}"
    );
    assert_eq!(run(url, &["setup"]).await.code, 0);

    let shards = run(url, &["setup", "--upgrade", "--shards", "2"]).await;
    assert!(
        shards.code == 2
            && shards
                .stderr
                .contains("a workflow's shard is computed from their number"),
        "{shards:?}"
    );
}
