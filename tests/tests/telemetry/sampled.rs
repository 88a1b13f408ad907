//! A part of all traces is recorded: each of them whole, and of the others nothing.

use std::collections::BTreeMap;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{OtlpSink, SeenSpan, eventually};

use super::{
    TestResult,
    peer::{Peer, call},
    traces::named,
};

/// Sent by `strew`, each in a trace of its own, or submitted by `flood`.
const STREWN: usize = 100;
const FLOOD: usize = 200;

/// Five standard deviations around the half.
fn is_about_half(count: usize, all: usize) -> bool {
    let (half, deviation) = (all as f64 / 2.0, (all as f64).sqrt() / 2.0);
    (count as f64 - half).abs() < 5.0 * deviation
}

#[tokio::test]
async fn half_of_all_traces_are_whole_and_of_the_others_there_is_nothing() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let half = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ];
    let mut back = Peer::start("back", broker.url(), &half).await;
    let mut front = Peer::start("front", broker.url(), &half).await;
    let strewn = call(broker.url(), &[], &["send", "front", "strew", "-p", "{}"]).await;
    assert_eq!(strewn.code, Some(0), "{strewn:?}");
    // An end sends all that there is.
    front.exit_after_drain().await;
    let whole = |spans: &[SeenSpan]| named(spans, "front", "send_command").len();
    eventually("the last of the agent's spans are here", || async {
        let spans = sink.spans();
        named(&spans, "back", "process mcp.cmd.back.nap").len() == whole(&spans)
    })
    .await;
    let spans = sink.spans();
    assert!(
        is_about_half(whole(&spans), STREWN),
        "{} of {STREWN}",
        whole(&spans)
    );
    let mut traces = BTreeMap::<&str, Vec<&str>>::new();
    for span in spans
        .iter()
        .filter(|span| span.name.contains("nap") || span.name == "send_command")
    {
        traces.entry(&span.trace).or_default().push(&span.name);
    }
    for (trace, mut names) in traces {
        names.sort_unstable();
        let expected = [
            "process mcp.cmd.back.nap",
            "publish mcp.cmd.back.nap",
            "send_command",
        ];
        assert_eq!(names, expected, "{trace}");
    }

    // Of a sender without telemetry: the agent decides.
    let _front = Peer::start("front", broker.url(), &[]).await;
    let flood = call(broker.url(), &[], &["send", "front", "flood", "-p", "{}"]).await;
    assert_eq!(flood.code, Some(0), "{flood:?}");
    let client = broker.client().await?;
    eventually("all of them are done", || async {
        let stream = client.jetstream().get_stream("mcp_commands").await;
        stream.is_ok_and(|stream| stream.cached_info().state.messages == 0)
    })
    .await;
    back.exit_after_drain().await;
    let all = sink.spans();
    let naps = named(&all, "back", "process mcp.cmd.back.nap");
    let roots = naps.iter().filter(|nap| nap.parent.is_empty()).count();
    assert!(is_about_half(roots, FLOOD), "{roots} of {FLOOD}");
    assert_eq!(naps.len(), roots + whole(&all));
    Ok(())
}
