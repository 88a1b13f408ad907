//! Processes with telemetry: the agents of the helper program `telemetry_peer`, and `mcpctl` as their caller.

use std::{
    fs,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mcp_tests::{PATIENCE, eventually, mcpctl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_telemetry_peer");

/// What a process is told of its surroundings.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// An agent; dropping it kills it.
pub(crate) struct Peer {
    child: Child,
    stderr: NamedTempFile,
}

impl Peer {
    /// Starts an agent, and waits for nothing.
    pub(crate) fn begin(name: &str, url: &str, variables: Variables<'_>) -> Self {
        Self::begin_program(PROGRAM, name, url, variables)
    }

    fn begin_program(program: &str, name: &str, url: &str, variables: Variables<'_>) -> Self {
        let stderr = NamedTempFile::new().unwrap();
        let child = command(program, url, variables)
            .arg(name)
            .stderr(stderr.reopen().unwrap())
            .spawn()
            .expect("the helper program can be run");
        Self { child, stderr }
    }

    /// Starts an agent, and waits until it takes commands.
    pub(crate) async fn start(name: &str, url: &str, variables: Variables<'_>) -> Self {
        Self::start_program(PROGRAM, name, url, variables).await
    }

    /// As [`Peer::start`], of another helper program.
    pub(crate) async fn start_program(
        program: &str,
        name: &str,
        url: &str,
        variables: Variables<'_>,
    ) -> Self {
        let mut peer = Self::begin_program(program, name, url, variables);
        eventually("the peer is ready", || {
            let ended = peer.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}): {}", peer.log());
            let ready = peer.log().contains(r#""ready""#);
            async move { ready }
        })
        .await;
        peer
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Its log so far: lines of JSON.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Where it serves its probes; of several agents in turn the last.
    pub(crate) async fn address(&self) -> String {
        eventually("it serves its probes", || {
            let serves = self.log().contains("serving /livez");
            async move { serves }
        })
        .await;
        let log = self.log();
        let mut lines = log.lines().rev();
        let line = lines.find(|line| line.contains("serving /livez"));
        let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        line["fields"]["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id is not zero");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").expect("a child can be waited for")
    }

    /// Asks it to end; returns how long it took after the work was over.
    pub(crate) async fn exit_after_drain(&mut self) -> Duration {
        self.signal(Signal::TERM);
        eventually("it has drained", || {
            let stopped = self.log().contains(r#""stopped""#);
            async move { stopped }
        })
        .await;
        let stopped = Instant::now();
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
        stopped.elapsed()
    }
}

/// What one call of `mcpctl` came to.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

/// Calls `mcpctl` to its end.
pub(crate) async fn call(url: &str, variables: Variables<'_>, arguments: &[&str]) -> Called {
    let mut command = command(&mcpctl().to_string_lossy(), url, variables);
    command.args(arguments).stderr(Stdio::piped());
    let began = Instant::now();
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("it ends").expect("mcpctl can be run");
    Called {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
        took: began.elapsed(),
    }
}

/// A process with nothing of ours and of OpenTelemetry in its environment but this.
fn command(program: &str, url: &str, variables: Variables<'_>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("MCP_") || known.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command
        .env("MCP_NATS_URL", url)
        .env("MCP_LOG_FORMAT", "json")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
