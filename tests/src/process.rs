//! Real processes: run to their end, or kept running until they are killed.

use std::{
    env, fs,
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{PATIENCE, eventually, mcpctl, nats_server};

/// What a process said, and how long it took.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Finished {
    /// The one JSON document that stdout must be.
    ///
    /// # Panics
    /// When it is anything else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document ({error}): {self:?}"))
    }
}

/// Runs `mcpctl` with these arguments to its end, against the server at `url` (empty: none is named).
pub async fn run(url: &str, arguments: &[&str]) -> Finished {
    run_in(&env::temp_dir(), url, arguments).await
}

/// As [`run`], in a folder.
///
/// # Panics
/// When it does not end in time.
pub async fn run_in(folder: &Path, url: &str, arguments: &[&str]) -> Finished {
    run_with(folder, url, arguments, &[]).await
}

/// As [`run_in`], with more in its environment.
///
/// # Panics
/// When it does not end in time.
pub async fn run_with(
    folder: &Path,
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Finished {
    let mut command = command(url, arguments).await;
    command
        .current_dir(folder)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let began = Instant::now();
    let output = timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| {
            panic!(
                "`mcpctl {}` did not end within {PATIENCE:?}",
                arguments.join(" ")
            )
        })
        .expect("mcpctl can be run");
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: began.elapsed(),
    }
}

/// A process that runs until it is told otherwise; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Process {
    /// Its id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.stdout.path()).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap_or_default()
    }

    /// Waits until it takes commands; `false` when it ends before.
    pub(crate) async fn gets_ready(&mut self) -> bool {
        let mut ready = false;
        let (process, said) = (&mut *self, &mut ready);
        eventually("the probe is ready", || {
            // Asked first: what it has said before its end is in the log by then.
            let ended = process.has_ended();
            *said = process.stderr().contains(" ready ");
            let over = *said || ended;
            async move { over }
        })
        .await;
        ready
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id is not zero");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Kills it (SIGKILL), as a crash would.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn ended(&mut self) -> ExitStatus {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("the process did not end; its log:\n{}", self.stderr()),
        }
    }
}

/// Starts `mcpctl` with these arguments in a folder, against the server at `url`.
///
/// # Panics
/// When it cannot be started.
pub async fn spawn(folder: &Path, url: &str, arguments: &[&str]) -> Process {
    spawn_with(folder, url, arguments, &[]).await
}

async fn spawn_with(
    folder: &Path,
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Process {
    let file = || NamedTempFile::new().expect("a temporary file can be made");
    let (stdout, stderr) = (file(), file());
    let handle = |file: &NamedTempFile| file.reopen().expect("a temporary file can be opened");
    let mut command = command(url, arguments).await;
    command
        .current_dir(folder)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(handle(&stdout))
        .stderr(handle(&stderr));
    let child = command
        .kill_on_drop(true)
        .spawn()
        .expect("mcpctl can be run");
    Process {
        child,
        stdout,
        stderr,
    }
}

/// Starts a worker process, `mcpctl probe` with these arguments, and waits until it takes commands.
///
/// # Panics
/// When it does not get ready.
pub async fn spawn_probe(url: &str, arguments: &[&str]) -> Process {
    spawn_probe_with(url, arguments, &[]).await
}

/// As [`spawn_probe`], with more in its environment.
///
/// # Panics
/// When it does not get ready.
pub async fn spawn_probe_with(
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Process {
    let mut probe = begin_probe(url, arguments, environment).await;
    let ready = probe.gets_ready().await;
    assert!(ready, "the probe ended: {}", probe.stderr());
    probe
}

/// Starts a probe without waiting for it: it may be made to die before it is ready.
pub(crate) async fn begin_probe(
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Process {
    let arguments: Vec<&str> = std::iter::once("probe")
        .chain(arguments.iter().copied())
        .collect();
    spawn_with(&env::temp_dir(), url, &arguments, environment).await
}

/// `mcpctl` with nothing of ours in its environment but the servers.
pub(crate) async fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(mcpctl());
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_")) {
        command.env_remove(name);
    }
    if !url.is_empty() {
        command.env("MCP_NATS_URL", url);
    }
    command
        .env("MCP_NATS_SERVER", nats_server().await)
        .args(arguments);
    command
}
