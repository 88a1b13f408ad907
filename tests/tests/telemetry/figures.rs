//! The figures: their names, their labels, and what they count.

use std::collections::BTreeSet;

use mcp_agent_sdk::{TestBroker, runtime::telemetry::METRIC_NAMES};
use mcp_tests::{OtlpSink, SeenMetric, eventually};

use super::{
    TestResult,
    peer::{Peer, call},
};

/// Nothing else may be a label: what is not few would fill a collector.
const LABELS: [&str; 7] = [
    "action",
    "agent",
    "lane",
    "messaging.destination.template",
    "messaging.operation.name",
    "messaging.system",
    "outcome",
];

/// A figure, labels that it has, and its value.
type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// The highest value of a figure with these labels.
fn value(metrics: &[SeenMetric], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |metric: &&SeenMetric| {
        let label = |(key, value): &(&str, &str)| {
            metric.labels.get(*key).map(String::as_str) == Some(*value)
        };
        metric.name == name && labels.iter().all(label)
    };
    metrics
        .iter()
        .filter(fits)
        .map(|metric| metric.value)
        .fold(0.0, f64::max)
}

#[tokio::test]
async fn figures_arrive_under_their_names_with_few_labels() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    let _front = Peer::start("front", broker.url(), &variables).await;
    let _middle = Peer::start("middle", broker.url(), &variables).await;
    let _back = Peer::start("back", broker.url(), &variables).await;
    let make = [
        "send",
        "front",
        "make",
        "-p",
        "{}",
        "--idempotency-key",
        "one",
    ];
    for _ in 0..2 {
        let called = call(broker.url(), &variables, &make).await;
        assert_eq!(called.code, Some(0), "{called:?}");
    }
    let failed = call(
        broker.url(),
        &variables,
        &["send", "back", "nonsense", "-p", "{}"],
    )
    .await;
    assert_eq!(failed.code, Some(1), "{failed:?}");

    let expected: [Expected<'_>; 15] = [
        (
            "messaging.client.consumed.messages",
            &[("agent", "back"), ("action", "unknown")],
            1.0,
        ),
        (
            "messaging.client.sent.messages",
            &[
                ("agent", "middle"),
                ("action", "work"),
                ("outcome", "stored"),
            ],
            2.0,
        ),
        (
            "messaging.client.sent.messages",
            &[("agent", "front"), ("action", "made"), ("lane", "event")],
            1.0,
        ),
        (
            "messaging.client.consumed.messages",
            &[("agent", "middle"), ("lane", "normal")],
            2.0,
        ),
        (
            "messaging.client.operation.duration",
            &[("agent", "middle"), ("messaging.operation.name", "publish")],
            2.0,
        ),
        (
            "messaging.process.duration",
            &[("agent", "middle"), ("outcome", "error")],
            1.0,
        ),
        (
            "messaging.process.duration",
            &[("agent", "middle"), ("outcome", "ok")],
            1.0,
        ),
        (
            "agentmsg.persistence",
            &[
                ("agent", "back"),
                ("action", "fail"),
                ("outcome", "stored"),
                ("messaging.operation.name", "publish"),
            ],
            1.0,
        ),
        (
            "agentmsg.persistence",
            &[
                ("agent", "front"),
                ("action", "make"),
                ("messaging.operation.name", "record_outcome"),
            ],
            1.0,
        ),
        (
            "agentmsg.dead_letters",
            &[("agent", "back"), ("action", "fail"), ("outcome", "stored")],
            1.0,
        ),
        (
            "agentmsg.dedup.hits",
            &[("agent", "front"), ("outcome", "replayed")],
            1.0,
        ),
        (
            "agentmsg.retries",
            &[("agent", "middle"), ("outcome", "requester")],
            1.0,
        ),
        (
            "agentmsg.retries",
            &[("agent", "back"), ("outcome", "runtime")],
            1.0,
        ),
        (
            "agentmsg.redeliveries",
            &[("agent", "back"), ("action", "fail")],
            1.0,
        ),
        (
            "agentmsg.queue.wait",
            &[("agent", "front"), ("lane", "normal")],
            2.0,
        ),
    ];
    for (name, labels, count) in expected {
        eventually(&format!("{name} {labels:?} is {count}"), || async {
            value(&sink.metrics(), name, labels) >= count
        })
        .await;
        assert_eq!(
            value(&sink.metrics(), name, labels),
            count,
            "{name} {labels:?}"
        );
    }
    let metrics = sink.metrics();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    let known = BTreeSet::from(METRIC_NAMES);
    assert!(names.is_subset(&known), "{:?}", names.difference(&known));
    for name in [
        "agentmsg.in_flight",
        "agentmsg.utilization",
        "agentmsg.limiter.wait",
    ] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    for metric in &metrics {
        for (label, value) in &metric.labels {
            assert!(LABELS.contains(&label.as_str()), "{metric:?}");
            // A message id has 36 characters, a trace id 32; templates are longer and known.
            assert!(
                value.len() < 32 || label == "messaging.destination.template",
                "{metric:?}"
            );
            // What strangers ask for is no label of an agent's; of the caller's own figures it is.
            let receives = |name: &String| name == "receive" || name == "process";
            let operation = metric.labels.get("messaging.operation.name");
            let is_agents = operation.is_some_and(receives);
            assert!(!(is_agents && value == "nonsense"), "{metric:?}");
        }
    }
    let durations = metrics
        .iter()
        .find(|metric| metric.name == "messaging.process.duration");
    let durations = durations.unwrap();
    assert_eq!(
        (durations.unit.as_str(), durations.bounds.last()),
        ("s", Some(&3600.0))
    );
    Ok(())
}
