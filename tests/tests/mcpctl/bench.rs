//! `mcpctl bench`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{run, spawn_probe};

#[tokio::test]
async fn bench_measures_and_says_what_limits() {
    let broker = TestBroker::start().await.unwrap();
    let _probe = spawn_probe(broker.url(), &["--capacity", "2"]).await;
    let arguments = ["bench", "--in-flight", "1,16", "--time", "1s"];
    let told = run(broker.url(), &[&arguments[..], &["--json"]].concat()).await;
    assert_eq!(told.code, 0, "{told:?}");
    let document = told.json();
    let levels = document["levels"].as_array().expect("levels");
    let in_flight: Vec<_> = levels
        .iter()
        .map(|level| level["in_flight"].as_u64())
        .collect();
    assert_eq!(in_flight, [Some(1), Some(16)]);
    for level in levels.iter().chain([&document["realtime_alone"]]) {
        let figure = |name: &str| level[name].as_f64().expect(name);
        assert!(figure("per_second") > 0.0, "{level}");
        assert!(
            0.0 < figure("p50_ms") && figure("p50_ms") <= figure("p99_ms"),
            "{level}"
        );
    }
    assert!(document["limit"]["what"].is_string(), "{document}");
    let shown = run(broker.url(), &arguments).await;
    assert!(shown.stdout.contains("limited by"), "{shown:?}");
}

#[tokio::test]
async fn bench_without_an_agent_says_what_to_start() {
    let broker = TestBroker::start().await.unwrap();
    let told = run(broker.url(), &["bench"]).await;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("mcpctl probe"), "{told:?}");
}
