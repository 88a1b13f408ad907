//! Servers that are not there, too old, or no servers.

use std::time::Duration;

use mcp_tests::run;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::dead_url;

#[tokio::test]
async fn absent_server_is_exit_code_3_with_the_remedy_at_once() {
    let url = dead_url().await;
    let commands: [&[&str]; 11] = [
        &["send", "probe", "echo"],
        &["send", "probe", "echo", "--submit", "--wait", "1s"],
        &["outcome", "probe", "echo", "k"],
        &["cancel", "probe", "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a41"],
        &["messages", "list"],
        &["dead", "list"],
        &["dead", "redrive", "--all"],
        &["agents"],
        &["setup"],
        &["doctor"],
        &["events", "publish", "x_happened"],
    ];
    for arguments in commands {
        let finished = run(&url, arguments).await;
        assert_eq!(finished.code, 3, "{finished:?}");
        assert_eq!(
            finished.stderr,
            format!("error: no server at {url}; start one with `mcpctl dev`\n")
        );
        assert!(finished.took < Duration::from_secs(10), "{finished:?}");
        let json = run(&url, &[arguments, &["--json"]].concat()).await;
        assert_eq!(
            (json.code, json.json()["error"]["code"].as_str()),
            (3, Some("UNREACHABLE")),
            "{json:?}"
        );
    }
}

#[tokio::test]
async fn program_that_never_speaks_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let finished = run(&url, &["agents"]).await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.took < Duration::from_secs(20), "{finished:?}");
}

#[tokio::test]
async fn old_server_is_refused_with_both_versions() {
    let url = old_server().await;
    for arguments in [&["agents"][..], &["doctor"], &["send", "probe", "echo"]] {
        let finished = run(&url, arguments).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        let sentence = "the server is nats-server 2.9.10, but 2.12.0 or newer is needed";
        assert!(finished.stderr.contains(sentence), "{finished:?}");
    }
}

/// The greeting of an old server, which is all that is needed to refuse it. The one thing here that is no real
/// server: releases that old are not to be had as easily as the current one.
async fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let url = format!("nats://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let info = "INFO {\"server_id\":\"x\",\"server_name\":\"x\",\"version\":\"2.9.10\",\"go\":\"go1.19\",\
                    \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\"proto\":1,\
                    \"jetstream\":true}\r\n";
                let mut written = socket.write_all(info.as_bytes()).await;
                let mut heard = [0; 4096];
                while let (Ok(()), Ok(1..)) = (&written, socket.read(&mut heard).await) {
                    written = socket.write_all(b"PONG\r\n").await;
                }
            });
        }
    });
    url
}
