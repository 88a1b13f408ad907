//! Processes of the helper program `presence_peer`.

use std::process::Stdio;

use mcp_tests::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_presence_peer");

/// A process with agents; dropping it kills it.
pub(crate) struct Peer {
    child: Child,
}

impl Peer {
    /// Starts it and waits until its agents take commands.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the helper program can be run");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        assert_eq!(
            line.ok().and_then(Result::ok).flatten().as_deref(),
            Some("ready")
        );
        Self { child }
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }

    /// Holds it (SIGSTOP), as a paused machine would, or lets it go on (SIGCONT).
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process runs");
        let pid = Pid::from_raw(id.cast_signed()).expect("a process id is not zero");
        kill_process(pid, signal).expect("a child can be signalled");
    }
}
