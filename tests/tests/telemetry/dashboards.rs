//! What `deploy/observability` asks for is what agents export: every name, every label, after traffic in which everything that
//! is counted has happened.

mod promql;

use std::{collections::BTreeSet, fs, sync::Mutex};

use mcp_agent_sdk::{TestBroker, runtime::telemetry::METRIC_NAMES};
use mcp_tests::{OtlpSink, eventually, workspace};
use serde_json::Value;

use super::{
    TestResult,
    peer::{Peer, Variables, call},
    probes::get,
};

use promql::{Exported, Query};

#[tokio::test]
async fn dashboards_and_alerts_ask_for_what_is_exported() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let variables = [
        ("MCP_HTTP_ADDR", "127.0.0.1:0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let mut peers = Vec::new();
    for name in ["back", "middle", "front", "engine"] {
        peers.push(Peer::start(name, broker.url(), &variables).await);
    }
    provoke(broker.url(), &variables).await;

    let exported = eventually_everything(&peers, &sink).await;
    let mut asked = 0;
    for (place, query) in queries()? {
        asked += 1;
        if let Err(wrong) = query.check(&exported) {
            panic!(
                "{place}: {wrong}\nin {}\nexported: {exported:#?}",
                query.text()
            );
        }
    }
    assert!(asked > 50, "only {asked} queries were found");
    Ok(())
}

/// Packs, retries, redeliveries, dead letters, deduplication, an open breaker, a limit, a workflow with a checkpoint, a timer and
/// a conflict.
async fn provoke(url: &str, variables: Variables<'_>) {
    // What calls is not scraped.
    let quiet = &variables[1..];
    let expect = async |code: i32, arguments: &[&str]| {
        let called = call(url, quiet, arguments).await;
        assert_eq!(called.code, Some(code), "{called:?}");
    };
    expect(0, &["send", "front", "flood", "-p", "{}"]).await;
    let slow = r#"{"ms":1,"last_ms":3000}"#;
    expect(
        0,
        &["workflow", "start", "journey", "--id", "j1", "-p", slow],
    )
    .await;
    eventually("the workflow is at its last state", || async {
        let shown = call(url, quiet, &["--json", "workflow", "show", "j1"]).await;
        shown.stdout.contains(r#""state": "last""#) || shown.stdout.contains(r#""state":"last""#)
    })
    .await;
    // While that runs, so that its engine's next write loses. It is answered when the workflow has ended, with an error.
    let signal = call(url, quiet, &["workflow", "signal", "j1", "hello"]).await;
    assert!(signal.code.is_some(), "{signal:?}");
    expect(0, &["send", "front", "make", "-p", "{}"]).await;
    for _ in 0..2 {
        let nap = ["send", "back", "nap", "-p", "{}", "--idempotency-key", "k"];
        expect(0, &nap).await;
    }
    expect(1, &["send", "back", "nonsense", "-p", "{}"]).await;
    expect(0, &["send", "front", "storm", "-p", "{}"]).await;
    expect(0, &["workflow", "watch", "j1"]).await;
    expect(0, &["workflow", "restore", "j1", "ask"]).await;
}

/// Waits until every figure is on some `/metrics`, and with a collector; returns what all of `/metrics` have.
async fn eventually_everything(peers: &[Peer], sink: &OtlpSink) -> Exported {
    // Together, because a limit ends and its figure with it.
    let exported = Mutex::new(Exported::default());
    let look = || async {
        for peer in peers {
            let (status, text) = get(&peer.address().await, "/metrics").await;
            assert_eq!(status, 200);
            exported.lock().unwrap().add(&text);
        }
    };
    let missing = |has: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let names = METRIC_NAMES.into_iter();
        names.filter(|name| !has(name)).collect()
    };
    eventually("every figure has arrived by both ways", || async {
        look().await;
        let by_otlp: BTreeSet<String> = sink.metrics().into_iter().map(|seen| seen.name).collect();
        let absent = [
            missing(&|name| exported.lock().unwrap().has_family(name)),
            missing(&|name| by_otlp.contains(name)),
        ]
        .concat();
        if !absent.is_empty() {
            eprintln!("still missing: {absent:?}");
        }
        absent.is_empty()
    })
    .await;
    look().await;
    exported.into_inner().unwrap()
}

/// All queries of the dashboard and of the rules, with where they stand.
fn queries() -> Result<Vec<(String, Query)>, Box<dyn std::error::Error>> {
    let folder = workspace().join("deploy/observability");
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("dashboard.json"))?)?;
    let panels = dashboard["panels"]
        .as_array()
        .ok_or("a dashboard has panels")?;
    let mut queries = Vec::new();
    for panel in panels {
        let place = format!("the panel {}", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().ok_or("a target has a query")?;
            let shown = target["legendFormat"].as_str().unwrap_or_default();
            queries.push((place.clone(), Query::new(text).showing(shown)));
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if let Some(inner) = variable["definition"].as_str() {
            let inner = inner
                .trim_start_matches("label_values(")
                .trim_end_matches(')');
            let (metric, label) = inner.split_once(", ").ok_or("label_values has two")?;
            let query = Query::new(&format!("sum by ({label}) ({metric})"));
            queries.push((format!("the variable {}", variable["name"]), query));
        }
    }
    let rules = fs::read_to_string(folder.join("rules.yml"))?;
    for rule in promql::rules(&rules) {
        let text = &rule.expression;
        let query = Query::new(text).showing(&rule.annotations).knowing(&rules);
        queries.push((format!("the rule {}", rule.name), query));
    }
    Ok(queries)
}
