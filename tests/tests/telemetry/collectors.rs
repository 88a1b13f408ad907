//! Collectors that are down, slow, or swallow everything: the work does not notice, and the exit is quick.

use std::time::Duration;

use axum::Router;
use mcp_agent_sdk::TestBroker;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    TestResult,
    peer::{Peer, call},
};

/// How long the slow one takes; longer than anything waits for it.
const DAWDLES: Duration = Duration::from_secs(30);

/// What was promised.
const EXIT: Duration = Duration::from_secs(3);

/// A port that takes connections and what comes over them, and says nothing.
async fn black_hole() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let swallowing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(swallow(stream));
        }
    });
    (endpoint, swallowing)
}

async fn swallow(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Takes what is sent, and says so 30 s later.
async fn slow() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Router::new().fallback(async || tokio::time::sleep(DAWDLES).await);
    let dawdling = tokio::spawn(async move { drop(axum::serve(listener, answer).await) });
    (endpoint, dawdling)
}

/// A name that nobody has.
const UNKNOWN: &str = "http://collector.invalid:4318";

#[tokio::test]
async fn a_collector_that_does_not_answer_costs_neither_work_nor_exit() -> TestResult {
    let broker = TestBroker::start().await?;
    let ((hole, swallowing), (slow, dawdling), nobody) =
        (black_hole().await, slow().await, nobody().await);
    let quick = call(
        broker.url(),
        &[],
        &["send", "nobody", "x", "--timeout", "1ms"],
    )
    .await;
    assert_ne!(
        quick.code,
        Some(0),
        "the streams are there from here on: {quick:?}"
    );
    for endpoint in [&hole, &slow, &nobody, UNKNOWN] {
        let (grpc, http) = (
            costs_nothing(broker.url(), endpoint, "grpc"),
            costs_nothing(broker.url(), endpoint, "http/protobuf"),
        );
        tokio::join!(grpc, http);
    }
    swallowing.abort();
    dawdling.abort();
    Ok(())
}

async fn costs_nothing(url: &str, endpoint: &str, protocol: &str) {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let mut back = Peer::start("back", url, &variables).await;
    for _ in 0..3 {
        let nap = ["send", "back", "nap", "-p", r#"{"ms": 5}"#];
        let called = call(url, &variables, &nap).await;
        let came_to = (called.code, called.stderr.as_str());
        assert_eq!(came_to, (Some(0), ""), "{called:?}");
        assert!(called.took < EXIT, "{endpoint} {protocol}: {called:?}");
    }
    let took = back.exit_after_drain().await;
    let log = back.log();
    assert!(
        took < EXIT,
        "{endpoint} {protocol}: {took:?} after the work: {log}"
    );
    let notices = log.matches("the collector does not take").count();
    assert!(
        notices <= 3,
        "once for each of traces, metrics and logs: {log}"
    );
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}
