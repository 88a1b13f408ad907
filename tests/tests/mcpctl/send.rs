//! `mcpctl send` and `mcpctl agents` with a probe at the other end.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{present, run, run_in, spawn_probe};
use serde_json::json;

#[tokio::test]
async fn results_errors_and_silence_have_their_exit_codes() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;

    let echo = run(
        url,
        &["send", "probe", "echo", "-p", "{\"n\": [1, null, \"é\"]}"],
    )
    .await;
    assert_eq!(
        (echo.code, echo.json()),
        (0, json!({ "n": [1, null, "é"] })),
        "{echo:?}"
    );
    assert_eq!(echo.stderr, "");

    let failed = run(
        url,
        &[
            "send",
            "probe",
            "fail",
            "-p",
            "{\"code\": \"NO_LUCK\", \"retry_delay_ms\": 2000}",
        ],
    )
    .await;
    assert_eq!((failed.code, failed.stdout.as_str()), (1, ""), "{failed:?}");
    assert!(
        failed
            .stderr
            .starts_with("error: probe.fail answered NO_LUCK"),
        "{failed:?}"
    );
    assert!(
        failed.stderr.contains("temporary, retry after 2s"),
        "{failed:?}"
    );

    let silent = run(url, &["send", "nobody", "echo", "--timeout", "200ms"]).await;
    assert_eq!(silent.code, 3, "{silent:?}");
    assert!(
        silent
            .stderr
            .contains("nobody.echo did not answer within 200ms; the command is stored"),
        "{silent:?}"
    );

    let unheard = run(url, &["send", "nobody", "echo", "--realtime"]).await;
    assert_eq!(unheard.code, 3, "{unheard:?}");
    assert!(
        unheard
            .stderr
            .contains("no instance of `nobody` is listening"),
        "{unheard:?}"
    );
}

#[tokio::test]
async fn json_tells_who_answered_and_is_alone_on_stdout() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &["--name", "other_probe"]).await;

    let sent = run(
        url,
        &[
            "--json",
            "send",
            "other_probe",
            "echo",
            "-p",
            "7",
            "--priority",
            "high",
            "--realtime",
        ],
    )
    .await;
    let document = sent.json();
    assert_eq!(
        (sent.code, &document["result"], &document["agent"]),
        (0, &json!(7), &json!("other_probe"))
    );
    assert_eq!(
        (&document["attempt"], &document["replayed"]),
        (&json!(1), &json!(false))
    );
    assert!(
        document["processing_ms"].is_f64() && document["instance"].is_string(),
        "{document}"
    );

    // Progress frames must not show up anywhere: stderr is no terminal here.
    let slow = run(
        url,
        &[
            "--json",
            "send",
            "other_probe",
            "progress",
            "-p",
            "{\"steps\": 3, \"ms\": 5}",
        ],
    )
    .await;
    assert_eq!(
        (slow.code, &slow.json()["result"]),
        (0, &json!({ "steps": 3 }))
    );
    assert_eq!(slow.stderr, "");

    let failed = run(url, &["--json", "send", "other_probe", "fly"]).await;
    assert_eq!(
        (failed.code, &failed.json()["error"]["code"]),
        (1, &json!("UNKNOWN_ACTION")),
        "{failed:?}"
    );

    let silent = run(
        url,
        &["--json", "send", "nobody", "echo", "--timeout", "100ms"],
    )
    .await;
    assert_eq!(
        (silent.code, &silent.json()["error"]["code"]),
        (3, &json!("TIMEOUT")),
        "{silent:?}"
    );
    assert_eq!(silent.json()["error"]["details"]["queued"], true);
}

#[tokio::test]
async fn parameters_may_come_from_a_file() {
    let broker = TestBroker::start().await.unwrap();
    let _probe = spawn_probe(broker.url(), &[]).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("parameters.json"), "{\"from\": \"file\"}").unwrap();
    let sent = run_in(
        dir.path(),
        broker.url(),
        &["send", "probe", "echo", "-f", "parameters.json"],
    )
    .await;
    assert_eq!(
        (sent.code, sent.json()),
        (0, json!({ "from": "file" })),
        "{sent:?}"
    );
}

#[tokio::test]
async fn agents_come_and_go() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let client = broker.client().await.unwrap();
    let none = run(url, &["agents"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:?}");

    let mut first = spawn_probe(url, &[]).await;
    let _second = spawn_probe(url, &["--capacity", "3"]).await;
    present(&client, "probe", 2).await;
    let both = run(url, &["agents", "--json"]).await.json();
    let agents = both["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 2, "{both}");
    assert!(
        agents.iter().any(|agent| agent["load"]["capacity"] == 3),
        "{both}"
    );

    assert!(first.terminate().await.success(), "{}", first.stderr());
    present(&client, "probe", 1).await;
    let listed = run(url, &["agents"]).await.stdout;
    let rows: Vec<&str> = listed.lines().collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(
        rows[0].starts_with("AGENT") && rows[1].contains("0/3"),
        "{listed}"
    );
    assert!(!listed.contains('\u{1b}'), "colours are for terminals");
}

#[tokio::test]
async fn settings_without_an_option_come_from_the_environment() {
    let broker = TestBroker::start().await.unwrap();
    let parameters = format!("\"{}\"", "x".repeat(500));
    let send = ["send", "nobody", "echo", "--json", "-p", &parameters];
    let mut command = tokio::process::Command::new(mcp_tests::mcpctl());
    command
        .args(["--server", broker.url()])
        .args(send)
        .env("MCP_MAX_INLINE_BODY", "100B")
        .env("MCP_MAX_BODY", "300B")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["code"], "PAYLOAD_TOO_LARGE", "{document}");
}
