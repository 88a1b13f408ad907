//! `/livez`, `/readyz` and `/metrics` through the life of an agent.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::eventually;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{
    TestResult,
    peer::{Peer, call},
};

const SERVED: [(&str, &str); 1] = [("MCP_HTTP_ADDR", "127.0.0.1:0")];

/// Sends bytes and returns all that comes back; empty when nobody answers.
async fn raw(address: &str, request: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return String::new();
    };
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Status and body of a `GET`.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let answer = raw(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    (status.unwrap_or(0), body.unwrap_or_default().to_owned())
}

async fn becomes(address: &str, path: &str, expected: (u16, &str)) {
    eventually(&format!("{path} is {expected:?}"), || async {
        let (status, body) = get(address, path).await;
        (status, body.trim()) == expected
    })
    .await;
}

#[tokio::test]
async fn probes_tell_the_truth_from_start_to_drain() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let mut back = Peer::start("back", broker.url(), &SERVED).await;
    let address = back.address().await;
    becomes(&address, "/readyz", (200, "ready")).await;
    becomes(&address, "/livez", (200, "alive")).await;

    let nap = ["send", "back", "nap", "-p", r#"{"ms": 20}"#];
    assert_eq!(call(broker.url(), &[], &nap).await.code, Some(0));
    let (status, figures) = get(&address, "/metrics").await;
    assert_eq!(status, 200);
    let count = "messaging_process_duration_seconds_count{";
    let line = figures.lines().find(|line| line.starts_with(count));
    let line = line.unwrap_or_else(|| panic!("no {count} in:\n{figures}"));
    assert!(
        line.contains(r#"action="nap""#) && line.ends_with(" 1"),
        "{line}"
    );
    assert!(
        figures.contains(r#"agentmsg_in_flight{agent="back"} 0"#),
        "{figures}"
    );
    assert!(figures.contains(r#"service_name="back""#), "{figures}");

    broker.kill().await?;
    becomes(&address, "/readyz", (503, "not connected to the server")).await;
    becomes(&address, "/livez", (200, "alive")).await;
    broker.restart().await?;
    becomes(&address, "/readyz", (200, "ready")).await;

    let long = ["send", "back", "nap", "-p", r#"{"ms": 4000}"#];
    let draining = async {
        eventually("the nap has begun", || async {
            get(&address, "/metrics")
                .await
                .1
                .contains(r#"agentmsg_in_flight{agent="back"} 1"#)
        })
        .await;
        back.signal(Signal::TERM);
        becomes(&address, "/readyz", (503, "draining")).await;
        becomes(&address, "/livez", (200, "alive")).await;
    };
    let (called, ()) = tokio::join!(call(broker.url(), &[], &long), draining);
    assert_eq!(called.code, Some(0), "what runs is done: {called:?}");
    assert!(back.ended().await.success());
    assert_eq!(
        get(&address, "/livez").await.0,
        0,
        "nobody answers any more"
    );
    Ok(())
}

#[tokio::test]
async fn a_second_agent_in_a_process_has_figures_too() -> TestResult {
    let broker = TestBroker::start().await?;
    let mut twice = Peer::start("twice", broker.url(), &SERVED).await;
    let first = twice.address().await;
    twice.signal(Signal::TERM);
    let ready = |log: &str| log.matches(r#""ready""#).count();
    eventually("the second is ready", || async { ready(&twice.log()) == 2 }).await;
    assert_eq!(get(&first, "/metrics").await.0, 0, "the first has ended");
    let nap = ["send", "back", "nap", "-p", r#"{"ms": 1}"#];
    assert_eq!(call(broker.url(), &[], &nap).await.code, Some(0));
    let (status, figures) = get(&twice.address().await, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        figures.contains(r#"agentmsg_in_flight{agent="back"} 0"#),
        "{figures}"
    );
    assert!(figures.contains(r#"action="nap""#), "{figures}");
    twice.signal(Signal::TERM);
    assert!(twice.ended().await.success());
    Ok(())
}

#[tokio::test]
async fn an_agent_that_waits_for_its_server_lives_and_is_not_ready() -> TestResult {
    let back = Peer::begin("back", "nats://127.0.0.1:1", &SERVED);
    let address = back.address().await;
    becomes(&address, "/livez", (200, "alive")).await;
    becomes(&address, "/readyz", (503, "starting")).await;
    Ok(())
}

#[tokio::test]
async fn strangers_cannot_make_it_work_or_wait() -> TestResult {
    let back = Peer::begin("back", "nats://127.0.0.1:1", &SERVED);
    let address = back.address().await;
    let status = |answer: String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(
        status(raw(&address, "POST /livez HTTP/1.1\r\n\r\n").await),
        "405"
    );
    assert_eq!(
        status(raw(&address, "GET /secrets HTTP/1.1\r\n\r\n").await),
        "404"
    );
    assert_eq!(status(raw(&address, "nonsense\r\n\r\n").await), "400");
    let large = format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(8192));
    assert_eq!(status(raw(&address, &large).await), "431");
    let head = raw(&address, "HEAD /livez HTTP/1.1\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"),
        "{head}"
    );

    // As many as it takes, all silent: they are cut off, and the next is answered.
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(&address).await?);
    }
    becomes(&address, "/livez", (200, "alive")).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() -> TestResult {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let mut back = Peer::begin("back", "nats://127.0.0.1:1", &[("MCP_HTTP_ADDR", &address)]);
    assert!(!back.ended().await.success());
    let log = back.log();
    assert!(
        log.contains(&address) && log.contains("MCP_HTTP_ADDR"),
        "{log}"
    );
    Ok(())
}
