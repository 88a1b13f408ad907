//! `mcpctl trace`: who handled it, when, and for how long, from what the server keeps and from Jaeger.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use axum::{
    Router,
    extract::{Path, RawQuery},
    routing::get,
};
use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, run, spawn_probe};
use serde_json::{Value, json};

/// The fact that stands in a place, such as `outcome`; it must be the only one there.
fn only<'a>(document: &'a Value, source: &str) -> &'a Value {
    let facts = document["facts"].as_array().unwrap();
    let found: Vec<&Value> = facts
        .iter()
        .filter(|fact| fact["source"] == source)
        .collect();
    let [fact] = found[..] else {
        panic!("one fact from {source}: {document}")
    };
    fact
}

async fn sent(url: &str, arguments: &[&str]) -> String {
    let told = run(url, &[&["--json", "send"], arguments].concat())
        .await
        .json();
    told["command_id"].as_str().unwrap().to_owned()
}

async fn trace(url: &str, id: &str) -> Value {
    let traced = run(url, &["--json", "trace", id]).await;
    assert_eq!(traced.code, 0, "{traced:?}");
    traced.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_traced_wherever_it_is() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let queued = sent(url, &["probe", "echo", "--submit", "--priority", "high"]).await;
    let told = trace(url, &queued).await;
    assert_eq!(
        (&told["kind"], &told["of"]),
        (&"command".into(), &"probe.echo".into())
    );
    let fact = only(&told, "queue");
    assert_eq!(fact["what"], "stored, waits: lane high");
    assert_eq!(only(&told, "id")["agent"], "mcpctl", "the sender");

    let _probe = spawn_probe(url, &[]).await;
    let slow = sent(
        url,
        &["probe", "sleep", "--submit", "-p", r#"{"ms": 60000}"#],
    )
    .await;
    let flaky = r#"{"key": "a", "times": 1, "code": "GPU_BUSY"}"#;
    let retries = ["--submit", "--retries", "3", "--base-delay", "10ms"];
    let retried = sent(
        url,
        &[&["probe", "fail", "-p", flaky], &retries[..]].concat(),
    )
    .await;
    let permanent = r#"{"category": "PERMANENT"}"#;
    let dead = sent(url, &["probe", "fail", "--submit", "-p", permanent]).await;
    let keyed = sent(
        url,
        &[
            "probe",
            "sleep",
            "-p",
            r#"{"ms": 20}"#,
            "--idempotency-key",
            "k1",
        ],
    )
    .await;

    let told = trace(url, &keyed).await;
    let fact = only(&told, "outcome");
    assert_eq!(
        (&fact["what"], &fact["agent"]),
        (&"done".into(), &"probe".into())
    );
    assert!(
        fact["instance"].is_string() && fact["took_ms"].as_f64() >= Some(20.0),
        "{fact}"
    );

    eventually("the others have been dealt with", || async {
        let listed = run(url, &["--json", "messages", "list"]).await.json();
        let state = |id: &str| {
            let all = listed["messages"].as_array().unwrap();
            let found = all.iter().filter(|message| message["id"] == id);
            found
                .map(|message| message["state"].clone())
                .collect::<Vec<_>>()
        };
        state(&slow) == ["in-flight"]
            && state(&retried) == ["done"]
            && state(&dead).contains(&"dead".into())
    })
    .await;
    let told = trace(url, &slow).await;
    assert_eq!(told["state"], "in flight");
    let now = only(&told, "outcome");
    assert_eq!(
        (&now["at"], &now["what"]),
        (&Value::Null, &"works on it now".into())
    );
    let fact = only(&trace(url, &retried).await, "outcome").clone();
    assert_eq!(fact["what"], "done, attempt 2, after GPU_BUSY");
    let told = trace(url, &dead).await;
    let fact = only(&told, "dead letter");
    assert!(
        fact["what"]
            .as_str()
            .unwrap()
            .contains("PROBE_FAILED after 1 attempt"),
        "{fact}"
    );
    let people = run(url, &["trace", &dead]).await;
    assert!(
        people.stdout.contains("dead letter 1: PROBE_FAILED"),
        "{people:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_and_events_are_traced_and_nothing_is_said_to_be_nothing() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let started = run(
        url,
        &["workflow", "start", "probe_pipeline", "--id", "order-17"],
    )
    .await;
    assert_eq!(started.code, 0, "{started:?}");
    eventually("it waits", || async {
        let told = trace(url, "order-17").await;
        told["state"] == "waiting, in gate" && told["facts"].to_string().contains("event waiting")
    })
    .await;
    let told = trace(url, "order-17").await;
    assert_eq!(told["kind"], "workflow");
    let whats: Vec<&str> = told["facts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fact| fact["what"].as_str())
        .collect();
    let expected = [
        "started",
        "first -> second by state",
        "second -> gate by state",
        "event waiting",
        "waiting in gate",
    ];
    assert_eq!(whats, expected);

    let published = run(
        url,
        &["--json", "events", "publish", "sunrise", "--source", "sky"],
    )
    .await
    .json();
    let told = trace(url, published["id"].as_str().unwrap()).await;
    assert_eq!(
        (&told["kind"], &told["of"]),
        (&"event".into(), &"sky.sunrise".into())
    );

    // Answered, and gone: only Jaeger could know it.
    let gone = sent(url, &["probe", "echo"]).await;
    let refused = run(url, &["trace", &gone]).await;
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (1, ""),
        "{refused:?}"
    );
    for part in ["nothing is known of", "idempotency key", "MCP_JAEGER_URL"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    let refused = run(url, &["trace", TRACE]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("Jaeger alone knows"), "{refused:?}");
    // Jaeger's absence does not hide what is known without it.
    let away = format!("http{}", super::dead_url().await.trim_start_matches("nats"));
    let told = run(url, &["trace", "order-17", "--jaeger", &away]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.stderr.contains("Jaeger could not be asked"),
        "{told:?}"
    );
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The part of Jaeger's API that is used, with one trace in which a span carries `id`; anything else is not found.
async fn jaeger(id: String) -> String {
    let trace = json!({ "data": [{
        "traceID": TRACE,
        "processes": {
            "p1": { "serviceName": "mcpctl", "tags": [] },
            "p2": { "serviceName": "probe", "tags": [{ "key": "service.instance.id", "value": "p-1" }] },
        },
        "spans": [
            { "traceID": TRACE, "spanID": "b", "operationName": "process mcp.cmd.probe.echo", "startTime": 1_000_400,
              "duration": 300, "processID": "p2", "tags": [{ "key": "error.type", "value": "GPU_BUSY" }],
              "references": [{ "refType": "CHILD_OF", "traceID": TRACE, "spanID": "a" }] },
            { "traceID": TRACE, "spanID": "a", "operationName": "send_command", "startTime": 1_000_000, "duration": 900,
              "processID": "p1", "references": [], "tags": [] },
        ],
    }] });
    let (whole, tags) = (
        trace.clone(),
        json!({ "messaging.message.id": id }).to_string(),
    );
    let search = move |RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        let plain = query
            .replace("%22", "\"")
            .replace("%7B", "{")
            .replace("%7D", "}")
            .replace("%3A", ":");
        match plain.contains("service=probe&") && plain.contains(&tags) {
            true => trace.to_string(),
            false => json!({ "data": [] }).to_string(),
        }
    };
    let one = move |Path(id): Path<String>| async move {
        match id == TRACE {
            true => Ok(whole.to_string()),
            false => Err(axum::http::StatusCode::NOT_FOUND),
        }
    };
    let router = Router::new()
        .route(
            "/api/services",
            get(|| async { json!({ "data": ["other", "probe"] }).to_string() }),
        )
        .route("/api/traces", get(search))
        .route("/api/traces/{id}", get(one));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn jaeger_is_asked_for_what_the_server_does_not_keep() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let id = sent(url, &["probe", "echo"]).await;
    let jaeger = jaeger(id.clone()).await;
    for id in [id.as_str(), TRACE] {
        let told = run(url, &["trace", id, "--jaeger", &jaeger]).await;
        assert_eq!(told.code, 0, "{told:?}");
        let lines: Vec<&str> = told.stdout.lines().collect();
        let at = |part: &str| {
            lines
                .iter()
                .position(|line| line.contains(part))
                .unwrap_or_else(|| panic!("{part}: {told:?}"))
        };
        assert!(
            at("send_command") < at("  process mcp.cmd.probe.echo: GPU_BUSY"),
            "{told:?}"
        );
        assert!(lines[at("process mcp")].contains("probe (p-1)"), "{told:?}");
        at(&format!("{jaeger}/trace/{TRACE}"));
    }
    let unknown = "00000000000000000000000000000001";
    let told = run(url, &["trace", unknown, "--jaeger", &jaeger]).await;
    assert_eq!(told.code, 1, "{told:?}");
}

/// Enough that they are not all read when the first are.
const MANY: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_removed_while_they_are_read_hide_nothing_else() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let queued = sent(url, &["probe", "echo", "--submit"]).await;
    let client = broker.client().await.unwrap();
    for _ in 0..MANY {
        let publishing = client.nats().publish("mcp.evt.nobody.said", "".into());
        publishing.await.unwrap();
    }
    let events = client.jetstream().get_stream("mcp_events").await.unwrap();
    eventually("all are stored", || async {
        let info = events.get_info().await;
        info.is_ok_and(|info| info.state.messages >= MANY as u64)
    })
    .await;
    let removing = async {
        eventually("somebody reads them", || async {
            let info = events.get_info().await;
            info.is_ok_and(|info| info.state.consumer_count > 0)
        })
        .await;
        events.purge().await.unwrap();
    };
    let (told, ()) = tokio::join!(trace(url, &queued), removing);
    assert_eq!(only(&told, "queue")["what"], "stored, waits: lane normal");
}
