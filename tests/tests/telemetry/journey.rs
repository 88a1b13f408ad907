//! A workflow over two agents, a timer and a killed engine: one trace, in which every state, command, checkpoint and event is.

use std::collections::HashMap;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{OtlpSink, SeenSpan, eventually};

use super::{
    TestResult,
    peer::{Peer, call},
};

#[tokio::test]
async fn a_workflow_over_agents_and_restarts_is_one_trace() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("last");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ("PEER_FILE", file.to_str().unwrap()),
    ];
    let _back = Peer::start("back", broker.url(), &variables).await;
    let mut first = Peer::start("engine", broker.url(), &variables).await;
    let mcpctl = |words: &'static str| {
        let words: Vec<&str> = words.split(' ').collect();
        let (url, variables) = (broker.url().to_owned(), variables);
        async move {
            let called = call(&url, &variables, &words).await;
            assert_eq!(called.code, Some(0), "{called:?}");
        }
    };
    mcpctl(r#"workflow start journey --id j1 -p {"ms":1}"#).await;
    eventually("the last state has begun", || async { file.exists() }).await;
    first.kill().await;
    let second = Peer::start("engine", broker.url(), &variables).await;
    // Ends when the workflow does.
    mcpctl("workflow watch j1").await;
    mcpctl("workflow restore j1 ask").await;

    let spans = eventually_all(&sink).await;
    check(&spans);
    let start = only(&spans, "run workflow journey", |span| {
        span.attributes["agentmsg.workflow.epoch"] == "0"
    });
    let lines = || {
        sink.lines()
            .into_iter()
            .filter(|line| line.text == "at the last")
    };
    eventually("the line of the second engine has come", || async {
        lines().count() >= 2
    })
    .await;
    for line in lines() {
        assert_eq!(
            (line.service.as_str(), line.level.as_str()),
            ("engine", "INFO")
        );
        assert_eq!(line.trace, start.trace, "{line:#?}");
        assert!(line.span.len() == 16, "{line:#?}");
    }
    let traced = format!(r#""trace_id":"{}""#, start.trace);
    assert!(second.log().contains(&traced), "{}", second.log());
    for (name, labels) in [
        (
            "agentmsg.workflow.transitions",
            [("definition", "journey"), ("state", "ask")],
        ),
        (
            "agentmsg.checkpoint.bytes",
            [("definition", "journey"), ("outcome", "saved")],
        ),
        (
            "agentmsg.checkpoint.bytes",
            [("definition", "journey"), ("outcome", "restored")],
        ),
        (
            "agentmsg.persistence",
            [
                ("action", "journey"),
                ("messaging.operation.name", "write_record"),
            ],
        ),
        (
            "agentmsg.persistence",
            [
                ("action", "journey"),
                ("messaging.operation.name", "save_checkpoint"),
            ],
        ),
        (
            "agentmsg.persistence",
            [
                ("action", "journey"),
                ("messaging.operation.name", "schedule"),
            ],
        ),
        ("agentmsg.timer.lateness", [("definition", "journey"); 2]),
    ] {
        eventually(&format!("{name} {labels:?}"), || async {
            let fits = |metric: &mcp_tests::SeenMetric| {
                let has = |(key, value): &(&str, &str)| {
                    metric.labels.get(*key).map(String::as_str) == Some(*value)
                };
                metric.name == name && metric.value > 0.0 && labels.iter().all(has)
            };
            sink.metrics().iter().any(fits)
        })
        .await;
    }
    Ok(())
}

/// Waits until the last spans are here: those of the run after the restore.
async fn eventually_all(sink: &OtlpSink) -> Vec<SeenSpan> {
    eventually("the spans of the restored workflow are here", || async {
        let spans = sink.spans();
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        count("checkpoint restore") == 1
            && count("state last") >= 2
            && count("publish mcp.evt.workflow.completed") >= 2
    })
    .await;
    sink.spans()
}

fn only<'a>(spans: &'a [SeenSpan], name: &str, which: impl Fn(&SeenSpan) -> bool) -> &'a SeenSpan {
    let mut found = spans.iter().filter(|span| span.name == name && which(span));
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        other => panic!("not one span `{name}`: {other:#?} in {spans:#?}"),
    }
}

/// Notices of instances, and what `mcpctl` asks besides, belong to no workflow.
fn belongs(span: &SeenSpan) -> bool {
    let name = &span.name;
    ["journey", "state ", "checkpoint ", "back.nap", ".workflow."]
        .iter()
        .any(|part| name.contains(part))
}

fn check(spans: &[SeenSpan]) {
    let start = only(spans, "run workflow journey", |span| {
        span.attributes["agentmsg.workflow.epoch"] == "0"
    });
    let by_id: HashMap<&str, &SeenSpan> =
        spans.iter().map(|span| (span.id.as_str(), span)).collect();
    for span in spans.iter().filter(|span| belongs(span)) {
        assert_eq!(span.trace, start.trace, "another trace: {span:#?}");
        // The killed engine has taken the span of the state in which it died with it, and that of its task.
        let known = span.parent.is_empty() || by_id.contains_key(span.parent.as_str());
        assert!(
            known || span.service == "engine" || span.service == "back",
            "{span:#?}"
        );
    }
    let parent = |span: &SeenSpan| {
        by_id
            .get(span.parent.as_str())
            .map(|span| span.name.as_str())
    };
    for state in ["state ask", "state last"] {
        for span in spans.iter().filter(|span| span.name == state) {
            assert_eq!(span.attributes["agentmsg.workflow.instance"], "j1");
            assert!(
                parent(span).is_none_or(|name| name == "run workflow journey"),
                "{span:#?}"
            );
        }
    }
    let nap = spans
        .iter()
        .find(|span| span.name == "process mcp.cmd.back.nap");
    let nap = nap.expect("the other agent is part of it");
    assert_eq!(parent(nap), Some("publish mcp.cmd.back.nap"));
    let save = spans.iter().find(|span| span.name == "checkpoint save");
    assert_eq!(save.and_then(parent), Some("run workflow journey"));
    let restore = only(spans, "checkpoint restore", |_| true);
    assert_eq!(parent(restore), Some("run workflow journey"));
    // What ended the wait is linked: the timer's task continues nobody's span, the restore that of its caller.
    let joined = spans
        .iter()
        .any(|span| span.name == "run workflow journey" && !span.links.is_empty());
    assert!(joined, "{spans:#?}");
}
