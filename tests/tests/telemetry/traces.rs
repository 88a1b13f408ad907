//! One command over three agents, with a retry, a killed instance and a dead letter: one trace.

use std::fs;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{OtlpSink, SeenSpan, eventually};
use serde_json::json;

use super::{
    TestResult,
    peer::{Peer, call},
};

/// Parameter values must appear nowhere: this one is looked for.
const MARKER: &str = "planted-7b1d9c40-value";

pub(crate) fn named<'a>(spans: &'a [SeenSpan], service: &str, name: &str) -> Vec<&'a SeenSpan> {
    let is_it = |span: &&SeenSpan| span.service == service && span.name == name;
    spans.iter().filter(is_it).collect()
}

pub(crate) fn only<'a>(spans: &'a [SeenSpan], service: &str, name: &str) -> &'a SeenSpan {
    match named(spans, service, name)[..] {
        [span] => span,
        ref found => panic!("{} spans `{name}` of {service}: {spans:#?}", found.len()),
    }
}

/// The sender is parent and link.
pub(crate) fn assert_continues(process: &SeenSpan, publish: &SeenSpan) {
    assert_eq!(
        (process.kind.as_str(), publish.kind.as_str()),
        ("CONSUMER", "PRODUCER")
    );
    assert_eq!(process.parent, publish.id, "{process:#?} {publish:#?}");
    assert_eq!(process.links, std::slice::from_ref(&publish.id));
}

#[tokio::test]
async fn a_command_over_three_agents_is_one_trace() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("finish");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ("MCP_LOG", "info,mcp_runtime=trace,mcp_agent_sdk=trace"),
        ("PEER_FILE", file.to_str().unwrap()),
    ];
    let front = Peer::start("front", broker.url(), &variables).await;
    let middle = Peer::start("middle", broker.url(), &variables).await;
    let mut first = Peer::start("back", broker.url(), &variables).await;

    let parameters = json!({ "secret": MARKER }).to_string();
    let send = [
        "send",
        "front",
        "make",
        "-p",
        &parameters,
        "--timeout",
        "50s",
    ];
    let killing = async {
        eventually("back has begun", || async { file.exists() }).await;
        let pid = fs::read_to_string(&file)?;
        assert_eq!(pid.trim(), first.pid().to_string());
        first.kill().await;
        Ok::<_, std::io::Error>(Peer::start("back", broker.url(), &variables).await)
    };
    let (called, second) = tokio::join!(call(broker.url(), &variables, &send), killing);
    let second = second?;
    assert_eq!(called.code, Some(0), "{called:?}");
    assert!(
        called.stdout.contains(MARKER),
        "the work itself gets the value"
    );

    eventually("the dead letter's span is here", || async {
        let spans = sink.spans();
        spans
            .iter()
            .any(|span| span.name == "publish mcp.dead.back.fail")
            && spans
                .iter()
                .any(|span| span.name == "process mcp.cmd.front.make")
            && spans
                .iter()
                .any(|span| span.name == "process mcp.evt.front.made")
            && spans
                .iter()
                .filter(|span| span.name == "process mcp.cmd.back.fail")
                .count()
                == 2
    })
    .await;
    eventually("figures are here", || async {
        let metrics = sink.metrics();
        metrics
            .iter()
            .any(|metric| metric.name == "agentmsg.queue.wait")
    })
    .await;
    let spans = sink.spans();
    check_trace(&spans);
    check_attributes(&spans);

    for (what, log) in [
        ("front", front.log()),
        ("middle", middle.log()),
        ("back", first.log()),
        ("back again", second.log()),
        ("mcpctl", called.stderr),
    ] {
        assert!(!log.contains(MARKER), "{what} logs a parameter: {log}");
    }
    let exported = sink.bytes();
    let holds = |text: &str| {
        let mut parts = exported.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    assert!(holds("process mcp.cmd.front.make") && holds("agentmsg.queue.wait"));
    assert!(!holds(MARKER), "a parameter is exported");

    let trace = &only(&spans, "mcpctl", "send_command").trace;
    let lines = middle.log();
    let line = lines
        .lines()
        .find(|line| line.contains(r#""working""#))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line)?;
    assert_eq!(line["trace_id"].as_str(), Some(trace.as_str()), "{line}");
    Ok(())
}

/// An instance tells that it is there: that belongs to nobody's command.
pub(crate) fn is_notice(span: &SeenSpan) -> bool {
    span.name.ends_with(".instance_online")
}

fn check_trace(spans: &[SeenSpan]) {
    let root = only(spans, "mcpctl", "send_command");
    assert_eq!((root.parent.as_str(), root.kind.as_str()), ("", "INTERNAL"));
    for span in spans.iter().filter(|span| !is_notice(span)) {
        assert_eq!(span.trace, root.trace, "another trace: {span:#?}");
    }
    let publish = only(spans, "mcpctl", "publish mcp.cmd.front.make");
    assert_eq!(publish.parent, root.id);
    let make = only(spans, "front", "process mcp.cmd.front.make");
    assert_continues(make, publish);

    assert_eq!(root.attributes["agentmsg.breaker.state"], "closed");

    // A retry: two publishes below one send, and each processed.
    let send = only(spans, "front", "send_command");
    assert_eq!(send.parent, make.id);
    let mut attempts = named(spans, "front", "publish mcp.cmd.middle.work");
    attempts.sort_by_key(|span| span.attributes["agentmsg.delivery_attempt"].clone());
    let [one, two] = attempts[..] else {
        panic!("two attempts were made: {attempts:#?}")
    };
    assert_eq!((&one.parent, &two.parent), (&send.id, &send.id));
    let works = named(spans, "middle", "process mcp.cmd.middle.work");
    let of = |publish: &SeenSpan| {
        let found = works.iter().find(|work| work.parent == publish.id);
        *found.unwrap_or_else(|| panic!("nobody processed {publish:#?}"))
    };
    assert_continues(of(one), one);
    assert_continues(of(two), two);
    assert!(of(one).failed && !of(two).failed);
    assert_eq!(of(one).attributes["error.type"], "NOT_YET");

    // A redelivery after kill -9: the second instance continues the same publish.
    let sent = only(spans, "middle", "publish mcp.cmd.back.finish");
    let finish = only(spans, "back", "process mcp.cmd.back.finish");
    assert_continues(finish, sent);
    assert_eq!(finish.attributes["agentmsg.delivery_attempt"], "2");

    // The runtime's own retry, and the dead letter below the last of its attempts.
    let submit = only(spans, "front", "submit_command");
    assert_eq!(submit.parent, make.id);
    let submitted = only(spans, "front", "publish mcp.cmd.back.fail");
    assert_eq!(submitted.parent, submit.id);
    let fails = named(spans, "back", "process mcp.cmd.back.fail");
    fails
        .iter()
        .for_each(|fail| assert_continues(fail, submitted));
    let nak = only(spans, "back", "settle");
    assert_eq!(nak.kind, "CLIENT");
    let dead = only(spans, "back", "publish mcp.dead.back.fail");
    let buried = fails.iter().find(|fail| fail.id == dead.parent).unwrap();
    assert!(nak.parent != buried.id && fails.iter().any(|fail| fail.id == nak.parent));

    let event = only(spans, "front", "publish mcp.evt.front.made");
    assert_eq!(event.parent, make.id);
    assert_continues(only(spans, "back", "process mcp.evt.front.made"), event);
}

fn check_attributes(spans: &[SeenSpan]) {
    let make = only(spans, "front", "process mcp.cmd.front.make");
    for (name, value) in [
        ("messaging.system", "nats"),
        ("messaging.destination.name", "mcp.cmd.front.normal.make"),
        (
            "messaging.destination.template",
            "{namespace}.cmd.{agent}.{lane}.{action}",
        ),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.consumer.group.name", "front_normal"),
        ("server.address", "127.0.0.1"),
        ("agentmsg.priority", "normal"),
        ("agentmsg.delivery_attempt", "1"),
    ] {
        let found = make.attributes.get(name).map(String::as_str);
        assert_eq!(found, Some(value), "{name} of {make:#?}");
    }
    let publish = only(spans, "mcpctl", "publish mcp.cmd.front.make");
    assert_eq!(
        publish.attributes["messaging.message.id"],
        make.attributes["messaging.message.id"]
    );
    assert_eq!(
        publish.attributes["messaging.message.body.size"],
        make.attributes["messaging.message.body.size"]
    );
    let fail = named(spans, "back", "process mcp.cmd.back.fail")[0];
    assert_eq!(fail.attributes["agentmsg.idempotency.outcome"], "executed");
}

#[tokio::test]
async fn http_protobuf_is_spoken_too_and_a_sampler_that_says_no_is_obeyed() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let http = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "renamed"),
    ];
    let _back = Peer::start("back", broker.url(), &http).await;
    let nap = ["send", "back", "nap", "-p", r#"{"ms": 1}"#];
    let unsampled = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    // The one whose spans are not even put together.
    let dropped = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let disabled = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_SDK_DISABLED", "true"),
    ];
    for variables in [&unsampled[..], &dropped[..], &http[..], &disabled[..]] {
        let called = call(broker.url(), variables, &nap).await;
        assert_eq!(
            (called.code, called.stderr.as_str()),
            (Some(0), ""),
            "{called:?}"
        );
    }
    let processed = |spans: &[SeenSpan]| named(spans, "renamed", "process mcp.cmd.back.nap").len();
    eventually("the agent's spans are here", || async {
        processed(&sink.spans()) == 2
    })
    .await;
    let spans = sink.spans();
    // Of the four callers one was traced; those that were not sampled kept their agent silent, too, and the one
    // without telemetry left the agent a trace of its own.
    assert_eq!(
        named(&spans, "renamed", "send_command").len(),
        1,
        "{spans:#?}"
    );
    let roots = spans
        .iter()
        .filter(|span| span.parent.is_empty() && !is_notice(span))
        .count();
    assert_eq!(roots, 2, "{spans:#?}");
    Ok(())
}
