//! `mcpctl top`, in a real terminal and in a pipe.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Terminal, run, spawn_probe};
use rustix::process::Signal;
use serde_json::Value;

const SIZE: (u16, u16) = (80, 24);
const DOWN: &str = "\u{1b}[B";

/// A probe, a waiting workflow, a dead letter, and a command that nobody takes.
async fn busy(url: &str) -> mcp_tests::Process {
    let probe = spawn_probe(url, &["--capacity", "4"]).await;
    for arguments in [
        &["send", "nobody", "echo", "--submit"][..],
        &[
            "send",
            "probe",
            "fail",
            "--submit",
            "-p",
            r#"{"category": "PERMANENT"}"#,
        ],
        &["workflow", "start", "probe_pipeline", "--id", "order-1"],
    ] {
        let finished = run(url, arguments).await;
        assert_eq!(finished.code, 0, "{finished:?}");
    }
    probe
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_is_seen_live_and_keys_work() {
    let broker = TestBroker::start().await.unwrap();
    let _probe = busy(broker.url()).await;
    let mut top = Terminal::start(broker.url(), &["top", "--interval", "250ms"], SIZE).await;
    top.shows("1 waiting").await;
    assert!(top.has_own_page());
    top.shows("dead letters 1").await;
    let lines = top.lines();
    assert!(
        lines[0].starts_with("mcpctl top  nats://127.0.0.1:"),
        "{lines:#?}"
    );
    assert!(
        lines[4].starts_with("AGENT            INST STATE"),
        "{lines:#?}"
    );
    let fields = |name: &str| -> Vec<String> {
        let row = lines.iter().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(
        fields("nobody")[1..],
        ["0", "away", "0", "0", "1", "0", "0", "0", "0", "0"]
    );
    let probe_row = fields("probe ");
    assert_eq!(
        (probe_row[1].as_str(), probe_row[2].as_str()),
        ("1", "ready")
    );
    assert_eq!(probe_row.last().unwrap(), "1", "{probe_row:?}");
    assert!(
        lines.iter().any(|line| line.contains("in: gate 1")),
        "{lines:#?}"
    );
    assert!(lines[23].starts_with("q quit  s sort: name"), "{lines:#?}");

    // What happens is seen.
    let slow = [
        "send",
        "probe",
        "sleep",
        "--submit",
        "-p",
        r#"{"ms": 60000}"#,
    ];
    assert_eq!(run(broker.url(), &slow).await.code, 0);
    top.shows("in work 1").await;

    top.press("s");
    top.shows("sort: load").await;
    top.press("i");
    top.shows("INSTANCE").await;
    top.press("p");
    top.shows("paused").await;
    top.press(DOWN);
    top.press(" ");
    top.press("i");
    top.shows("instances  p pause").await;

    top.resize(120, 40);
    // The keys stand in the last line.
    mcp_tests::eventually("the screen is as large as its window", || async {
        top.lines()
            .get(39)
            .is_some_and(|line| line.starts_with("q quit"))
    })
    .await;

    // One that comes and goes is seen at once.
    let mut other = spawn_probe(broker.url(), &["--name", "other"]).await;
    top.shows("agents 2 (2 instances)").await;
    assert!(other.terminate().await.success());
    top.shows("agents 1 (1 instance)").await;
    top.press("q");
    assert!(top.ended().await.success());
    top.restored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_given_back_however_it_ends() {
    let mut broker = TestBroker::start().await.unwrap();
    let url = broker.url().to_owned();
    for end in ["\u{3}", "\u{1b}", "terminated"] {
        let mut top = Terminal::start(&url, &["top"], SIZE).await;
        top.shows("q quit").await;
        assert!(top.has_own_page());
        match end {
            "terminated" => top.signal(Signal::TERM),
            key => top.press(key),
        }
        assert!(top.ended().await.success());
        top.restored().await;
    }
    // A server that goes away ends nothing: the screen says how old it is.
    let mut top = Terminal::start(&url, &["top", "--interval", "250ms"], SIZE).await;
    top.shows("q quit").await;
    broker.kill().await.unwrap();
    top.shows("as it was ").await;
    top.press("q");
    assert!(top.ended().await.success());
    top.restored().await;
    // And without one from the beginning there is a sentence, and no screen.
    let mut none = Terminal::start(&super::dead_url().await, &["top"], SIZE).await;
    assert_eq!(none.ended().await.code(), Some(3));
    none.shows("mcpctl dev").await;
    none.restored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_it_once() {
    let broker = TestBroker::start().await.unwrap();
    let _probe = busy(broker.url()).await;
    let text = run(broker.url(), &["top", "--interval", "200ms"]).await;
    assert_eq!(text.code, 0, "{text:?}");
    assert!(!text.stdout.contains('\u{1b}'), "{text:?}");
    assert!(text.stdout.contains("dead letters 1"), "{text:?}");

    let arguments = ["--json", "top", "--interval", "200ms"];
    let document = run(broker.url(), &arguments).await.json();
    assert_eq!(document["totals"]["dead_letters"], 1);
    assert_eq!(document["totals"]["queued"], 1);
    let agents = document["agents"].as_array().unwrap();
    let named = |name: &str| agents.iter().find(|agent| agent["agent"] == name).unwrap();
    assert_eq!(named("nobody")["lanes"]["normal"]["queued"], 1);
    assert_eq!(named("nobody")["state"], Value::Null);
    assert_eq!(named("probe")["instances"][0]["state"], "ready");
    assert_eq!(document["workflows"][0]["statuses"]["waiting"], 1);
    assert_eq!(document["workflows"][0]["states"]["gate"], 1);

    let refused = run(broker.url(), &["top", "--interval", "1ms"]).await;
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("at least 200ms"), "{refused:?}");
}
