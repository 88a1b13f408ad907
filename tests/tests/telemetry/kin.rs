//! What belongs together: commands in packs and workflows with their children are in one trace; each firing of a schedule is one of
//! its own, linked to the schedule.

use std::collections::{BTreeSet, HashMap};

use mcp_agent_sdk::TestBroker;
use mcp_tests::{OtlpSink, SeenSpan, eventually};

use super::{
    TestResult,
    peer::{Peer, Variables, call},
    traces::{assert_continues, named, only},
};

const NAP: &str = "process mcp.cmd.back.nap";

/// Submitted at once by `flood`.
const FLOOD: usize = 200;

fn variables(sink: &OtlpSink) -> [(&str, &str); 5] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ]
}

async fn done(url: &str, variables: Variables<'_>, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let called = call(url, variables, &words).await;
    assert_eq!(called.code, Some(0), "{words:?}: {called:?}");
}

/// All spans, once there are so many of each of these.
async fn spans_with(sink: &OtlpSink, wanted: &[(&str, usize)]) -> Vec<SeenSpan> {
    let what = format!("spans {wanted:?}");
    eventually(&what, || async {
        let spans = sink.spans();
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        wanted.iter().all(|(name, least)| count(name) >= *least)
    })
    .await;
    sink.spans()
}

fn by_id(spans: &[SeenSpan]) -> HashMap<&str, &SeenSpan> {
    spans.iter().map(|span| (span.id.as_str(), span)).collect()
}

#[tokio::test]
async fn commands_that_travel_in_packs_stay_in_the_trace_of_their_sender() -> TestResult {
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let variables = variables(&sink);
    let _back = Peer::start("back", broker.url(), &variables).await;
    let _front = Peer::start("front", broker.url(), &variables).await;
    done(broker.url(), &variables, "send front flood -p {}").await;

    let wanted = [
        (NAP, FLOOD),
        ("submit_command", FLOOD),
        ("process mcp.cmd.front.flood", 1),
        ("send_command", 1),
    ];
    let spans = spans_with(&sink, &wanted).await;
    let by_id = by_id(&spans);
    let root = only(&spans, "mcpctl", "send_command");
    let flood = only(&spans, "front", "process mcp.cmd.front.flood");
    let mut packed = 0;
    for nap in named(&spans, "back", NAP) {
        assert_eq!(nap.trace, root.trace);
        let publish = by_id[nap.parent.as_str()];
        assert_continues(nap, publish);
        let submit = by_id[publish.parent.as_str()];
        assert_eq!(
            (submit.name.as_str(), &submit.parent),
            ("submit_command", &flood.id)
        );
        if let Some(members) = nap.attributes.get("messaging.batch.message_count") {
            let members: usize = members.parse()?;
            assert!((2..=64).contains(&members), "{nap:#?}");
            packed += 1;
        }
    }
    assert!(packed > 0, "none of them came in a pack");
    Ok(())
}

#[tokio::test]
async fn children_are_in_their_parents_trace_and_firings_of_a_schedule_in_their_own() -> TestResult
{
    let (broker, sink) = (TestBroker::start().await?, OtlpSink::start().await);
    let (url, variables) = (broker.url(), variables(&sink));
    let _back = Peer::start("back", url, &variables).await;
    let _engine = Peer::start("engine", url, &variables).await;
    done(
        url,
        &variables,
        r#"workflow start film --id f1 -p {"ms":1}"#,
    )
    .await;
    done(url, &variables, "workflow watch f1").await;

    let spans = spans_with(
        &sink,
        &[(NAP, 1), ("state take", 1), ("run workflow film", 2)],
    )
    .await;
    let film = named(&spans, "engine", "run workflow film")[0];
    for (service, name) in [
        ("engine", "run workflow film"),
        ("engine", "run workflow scene"),
        ("engine", "state shoot"),
        ("engine", "state take"),
        ("back", NAP),
    ] {
        let found = named(&spans, service, name);
        assert!(!found.is_empty(), "no `{name}`");
        for span in found {
            assert_eq!(span.trace, film.trace, "another trace: {span:#?}");
        }
    }

    let add = r#"workflow schedule add beat --every 1h --send back nap -p {"ms":2}"#;
    done(url, &variables, add).await;
    done(url, &variables, "workflow schedule run-now beat").await;
    done(url, &variables, "workflow schedule run-now beat").await;
    let fire = "fire schedule beat";
    let spans = spans_with(&sink, &[(NAP, 3), (fire, 2), ("state scheduled", 3)]).await;
    let by_id = by_id(&spans);
    let fires = named(&spans, "engine", fire);
    let traces: BTreeSet<&str> = fires.iter().map(|fire| fire.trace.as_str()).collect();
    assert_eq!((fires.len(), traces.len()), (2, 2), "{fires:#?}");
    for fire in fires {
        assert_eq!(fire.parent, "");
        let [schedule] = &fire.links[..] else {
            panic!("it is linked to its schedule: {fire:#?}")
        };
        let schedule = by_id[schedule.as_str()];
        assert_eq!(schedule.name, "state scheduled");
        assert!(!traces.contains(schedule.trace.as_str()));
        let naps = named(&spans, "back", NAP).into_iter();
        assert_eq!(naps.filter(|nap| nap.trace == fire.trace).count(), 1);
    }
    Ok(())
}
