//! Processes of the helper program `reliability_peer`: workers that are killed, requesters that are waited for.

use std::{path::Path, process::Stdio};

use mcp_tests::PATIENCE;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reliability_peer");

/// A worker process; dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    pub(crate) pid: u32,
}

impl Worker {
    /// Starts a worker and waits until it takes commands.
    pub(crate) async fn start(url: &str, effects: &Path) -> Self {
        let mut child = command()
            .args(["worker", url])
            .arg(effects)
            .spawn()
            .expect("the helper program can be run");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        assert_eq!(line.unwrap().unwrap().as_deref(), Some("ready"));
        let pid = child.id().expect("the worker runs");
        Self { child, pid }
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }
}

/// What one send of the same key came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Value,
    pub(crate) replayed: bool,
}

/// The command that a requester process sends.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) target: &'static str,
    pub(crate) action: &'static str,
    pub(crate) parameters: Value,
    pub(crate) key: String,
}

/// Runs one requester process to its end: it sends the command `count` times at once.
pub(crate) async fn request(asked: Asked, count: usize) -> Vec<Answer> {
    let output = command()
        .args(["requester", &asked.url, asked.target, asked.action])
        .args([asked.parameters.to_string(), asked.key, count.to_string()])
        .stderr(Stdio::piped())
        .output()
        .await
        .expect("the helper program can be run");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}{stdout}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout.lines().map(answer).collect()
}

fn answer(line: &str) -> Answer {
    let mut answer: Value = serde_json::from_str(line).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    Answer {
        result: answer["result"].take(),
        replayed: answer["replayed"] == true,
    }
}

fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
