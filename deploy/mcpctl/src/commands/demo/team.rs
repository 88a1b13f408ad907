//! The agents' processes: hired, watched, dismissed by their process ids.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use mcp_agent_sdk::{
    Client,
    runtime::{InstanceState, PresenceRecord},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{failure::Failure, presence};

/// Who works, and how many of them. Drawing is what takes long.
const TEAM: [(&str, usize); 5] = [
    ("content_agent", 1),
    ("visual_agent", 3),
    ("audio_agent", 1),
    ("editing_agent", 1),
    ("director_agent", 1),
];

/// How long the agents may take to be there; on a busy machine seven processes need a second or two.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How long a dismissed agent lets its work go on, which nobody waits for any more.
const GRACE: &str = "500ms";

/// How long a dismissed agent may take to end. Above the grace: a killed one cannot clear away its files.
const FAREWELL: Duration = Duration::from_secs(5);

/// Lines of a log that are shown when something went wrong.
const LAST_LINES: usize = 4;

/// The program of the agents: named, or beside this one.
pub(super) fn find_studio(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || {
        let exe = env::current_exe().unwrap_or_default();
        exe.with_file_name(format!("video-studio{}", env::consts::EXE_SUFFIX))
    };
    let studio = named.map_or_else(beside, Path::to_owned);
    match studio.is_file() {
        true => Ok(studio),
        false => Err(Failure::usage(format!("there is no video-studio at {}", studio.display()))
            .remedy("build it with `cargo build -p video-studio`, run `make demo`, or name it with --studio")),
    }
}

/// One process.
#[derive(Debug)]
struct Member {
    agent: &'static str,
    child: Child,
    log: PathBuf,
    gone: bool,
}

/// All agents of the studio. Dropping it kills them.
#[derive(Debug, Default)]
pub(super) struct Team {
    members: Vec<Member>,
}

impl Team {
    /// Starts everybody.
    pub(super) fn hire(
        &mut self,
        studio: &Path,
        url: &str,
        namespace: &str,
        logs: &Path,
    ) -> Result<(), Failure> {
        let failed = |error| Failure::io(format!("cannot start {}", studio.display()), &error);
        fs::create_dir_all(logs).map_err(failed)?;
        for (agent, count) in TEAM {
            for number in 1..=count {
                let log = logs.join(format!("{agent}-{number}.log"));
                let file = File::create(&log).map_err(failed)?;
                let errors = file.try_clone().map_err(failed)?;
                let mut command = Command::new(studio);
                // What the environment says about other servers does not hold for this one.
                for (name, _) in env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy()))
                {
                    command.env_remove(name);
                }
                command
                    .arg(agent)
                    .env("MCP_NATS_URL", url)
                    .env("MCP_NAMESPACE", namespace)
                    .env("MCP_DRAIN_GRACE", GRACE);
                command
                    .stdin(Stdio::null())
                    .stdout(file)
                    .stderr(errors)
                    .kill_on_drop(true);
                // A group of its own: Ctrl-C reaches this process alone, which stops the agents in order.
                command.process_group(0);
                let child = command.spawn().map_err(failed)?;
                self.members.push(Member {
                    agent,
                    child,
                    log,
                    gone: false,
                });
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns when an agent has lost its last process. As long as one is left, it takes over what the others had.
    pub(super) async fn lost(&mut self) -> Failure {
        loop {
            let waiting = self.members.iter_mut().filter(|member| !member.gone);
            let waits: Vec<_> = waiting
                .map(|member| {
                    Box::pin(async move {
                        let status = member.child.wait().await;
                        member.gone = true;
                        (member.agent, status)
                    })
                })
                .collect();
            if waits.is_empty() {
                return std::future::pending().await;
            }
            let ((agent, status), ..) = select_all(waits).await;
            if self
                .members
                .iter()
                .all(|member| member.agent != agent || member.gone)
            {
                let status =
                    status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Failure::answered(format!("{agent} ended ({status})"));
            }
        }
    }

    /// Asks everybody to end, and kills who does not within some seconds.
    pub(super) async fn dismiss(&mut self) {
        join_all(self.members.iter_mut().map(|member| async {
            let pid = member
                .child
                .id()
                .and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(pid) = pid
                && kill_process(pid, Signal::TERM).is_ok()
                && timeout(FAREWELL, member.child.wait()).await.is_ok()
            {
                return;
            }
            // An error means that it has ended.
            let _ = member.child.kill().await;
        }))
        .await;
    }

    /// The end of each log.
    pub(super) fn last_words(&self) -> String {
        let mut text = String::new();
        for member in &self.members {
            let log = fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let name = member.log.file_stem().unwrap_or_default().to_string_lossy();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                text.push_str(&format!("{name}: {line}\n"));
            }
        }
        text.trim_end().to_owned()
    }
}

/// Ours, apart from those about logs, which are welcome.
fn is_ours(variable: &str) -> bool {
    variable.starts_with("MCP_") && !variable.starts_with("MCP_LOG")
}

/// Waits until every process has announced itself.
pub(super) async fn all_present(client: &Client) -> Result<Vec<PresenceRecord>, Failure> {
    let give_up = Instant::now() + ARRIVAL;
    loop {
        let mut records = presence::records(client).await?;
        records.retain(|record| record.state != InstanceState::Starting);
        let there = |agent: &str| {
            records
                .iter()
                .filter(|record| record.agent == agent)
                .count()
        };
        let absent: Vec<&str> = TEAM
            .into_iter()
            .filter(|(agent, count)| there(agent) < *count)
            .map(|(agent, _)| agent)
            .collect();
        if absent.is_empty() {
            return Ok(records);
        }
        if Instant::now() > give_up {
            let seconds = ARRIVAL.as_secs();
            return Err(Failure::unreachable(format!(
                "not ready within {seconds} s: {}",
                absent.join(", ")
            )));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
