//! What the work is about is nobody's business but that of who does it: no span, figure or log line holds a value.

use std::collections::BTreeSet;

use mcp_agent_sdk::{TestBroker, WorkflowStatus, Workflows};
use mcp_tests::{OtlpSink, eventually};
use serde_json::{Value, json};

use super::{
    TestResult,
    peer::{Called, Peer, call},
    probes::get,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secrets_peer");

/// A value, planted wherever one can be.
const SECRET: &str = "planted-5d2c81f7-value";

/// An idempotency key, which may be a customer's number.
const KEY: &str = "planted-5d2c81f7-key";

/// The lines of a log; what `mcpctl` says to the person at the terminal is none.
fn log_of(called: &Called) -> String {
    let lines = called.stderr.lines();
    let lines: Vec<&str> = lines.filter(|line| line.starts_with('{')).collect();
    lines.join("\n")
}

#[tokio::test]
async fn no_span_figure_or_log_line_holds_a_value_of_the_work() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let client = broker.client().await?;
    let caller = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ("MCP_LOG", "trace"),
    ];
    let served = [&caller[..], &[("MCP_HTTP_ADDR", "127.0.0.1:0")]].concat();
    let keeper = Peer::start_program(PROGRAM, "keeper", broker.url(), &served).await;

    let secret = json!({ "secret": SECRET }).to_string();
    let other = json!({ "secret": SECRET, "other": true }).to_string();
    let no_number = json!({ "n": SECRET }).to_string();
    let mut logs = String::new();
    for (code, arguments) in [
        (
            0,
            &[
                "send",
                "keeper",
                "take",
                "-p",
                &secret,
                "--idempotency-key",
                KEY,
            ][..],
        ),
        (
            0,
            &[
                "send",
                "keeper",
                "take",
                "-p",
                &secret,
                "--idempotency-key",
                KEY,
            ],
        ),
        (
            1,
            &[
                "send",
                "keeper",
                "take",
                "-p",
                &other,
                "--idempotency-key",
                KEY,
            ],
        ),
        (0, &["send", "keeper", "take", "-p", &secret, "--realtime"]),
        (
            1,
            &["send", "keeper", "refuse", "-p", &secret, "--retries", "2"],
        ),
        (
            1,
            &["send", "keeper", "fail", "-p", &secret, "--retries", "1"],
        ),
        (1, &["send", "keeper", "count", "-p", &no_number]),
        (
            0,
            &[
                "send",
                "keeper",
                "fail",
                "-p",
                &secret,
                "--submit",
                "--retries",
                "1",
                "--base-delay",
                "10ms",
            ],
        ),
        (
            0,
            &[
                "send",
                "keeper",
                "count",
                "-p",
                &no_number,
                "--submit",
                "--idempotency-key",
                "other",
            ],
        ),
        (
            0,
            &["workflow", "start", "kept", "-p", &secret, "--id", "w1"],
        ),
        (0, &["workflow", "signal", "w1", "go", "-p", &secret]),
    ] {
        let called = call(broker.url(), &caller, arguments).await;
        assert_eq!(called.code, Some(code), "{arguments:?}: {called:?}");
        logs += &log_of(&called);
    }
    // What nobody can read.
    let garbage = format!("\u{1}{SECRET}");
    let subject = "mcp.cmd.keeper.normal.take";
    client
        .jetstream()
        .publish(subject, garbage.into())
        .await?
        .await?;

    eventually("the workflow has failed", || async {
        let record = Workflows::new(&client).get_workflow("w1").await;
        matches!(record, Ok(Some(record)) if record.status == WorkflowStatus::Failed)
    })
    .await;
    eventually("the spans of all dead letters are here", || async {
        let spans = sink.spans();
        let dead = spans
            .iter()
            .filter(|span| span.name.starts_with("publish mcp.dead.keeper."));
        dead.count() >= 3 && spans.iter().any(|span| span.name == "state last")
    })
    .await;
    eventually("figures are here", || async { !sink.metrics().is_empty() }).await;

    let (status, figures) = get(&keeper.address().await, "/metrics").await;
    assert_eq!(status, 200);
    logs += &keeper.log();
    let parsed = logs
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let levels: BTreeSet<String> = parsed
        .filter_map(|line| Some(line["level"].as_str()?.to_owned()))
        .collect();
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(
            levels.contains(level),
            "everything was to be logged: {levels:?}"
        );
    }
    let exported = sink.bytes();
    for word in [SECRET, KEY] {
        for (what, text) in [
            ("log", logs.as_bytes()),
            ("page of figures", figures.as_bytes()),
            ("export", &exported),
        ] {
            let found = text
                .windows(word.len())
                .position(|part| part == word.as_bytes());
            if let Some(at) = found {
                let around = &text[at.saturating_sub(600)..(at + 100).min(text.len())];
                panic!(
                    "{word} is in the {what}: …{}…",
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
    Ok(())
}
