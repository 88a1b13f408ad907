//! The agents' processes: hired, watched, replaced when they are killed, dismissed by their process ids.

use std::{
    env, fs,
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
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

use crate::{failure::Failure, output, presence};

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

/// How often a killed process is replaced. Somebody may kill some to see what happens; more is a machine that cannot
/// hold them.
const MAX_REPLACED: usize = 20;

/// What every process needs.
#[derive(Debug, Default)]
struct Workplace {
    studio: PathBuf,
    url: String,
    namespace: String,
    logs: PathBuf,
    tracing: Vec<(&'static str, String)>,
}

/// One process.
#[derive(Debug)]
struct Member {
    agent: &'static str,
    number: usize,
    child: Child,
    log: PathBuf,
    gone: bool,
}

impl Workplace {
    /// Starts a process; its log goes on where that of its predecessor ended.
    fn start(&self, agent: &'static str, number: usize) -> io::Result<Member> {
        let log = self.logs.join(format!("{agent}-{number}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(&self.studio);
        // What the environment says about other servers does not hold for this one.
        for (name, _) in env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
            .arg(agent)
            .env("MCP_NATS_URL", &self.url)
            .env("MCP_NAMESPACE", &self.namespace)
            .env("MCP_DRAIN_GRACE", GRACE)
            .envs(self.tracing.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .kill_on_drop(true);
        // A group of its own: Ctrl-C reaches this process alone, which stops the agents in order.
        command.process_group(0);
        Ok(Member {
            agent,
            number,
            child: command.spawn()?,
            log,
            gone: false,
        })
    }
}

/// All agents of the studio. Dropping it kills them.
#[derive(Debug, Default)]
pub(super) struct Team {
    workplace: Workplace,
    members: Vec<Member>,
    replaced: usize,
}

impl Team {
    /// Starts everybody.
    pub(super) fn hire(
        &mut self,
        studio: &Path,
        url: &str,
        namespace: &str,
        logs: &Path,
        tracing: Vec<(&'static str, String)>,
    ) -> Result<(), Failure> {
        let failed = |error| Failure::io(format!("cannot start {}", studio.display()), &error);
        fs::create_dir_all(logs).map_err(failed)?;
        self.workplace = Workplace {
            studio: studio.to_owned(),
            url: url.to_owned(),
            namespace: namespace.to_owned(),
            logs: logs.to_owned(),
            tracing,
        };
        for (agent, count) in TEAM {
            for number in 1..=count {
                let member = self.workplace.start(agent, number).map_err(failed)?;
                self.members.push(member);
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns when an agent has lost its last process. As long as one is left, it takes over what the others had; one
    /// that was killed gets a successor.
    pub(super) async fn lost(&mut self) -> Failure {
        loop {
            let members = self.members.iter_mut().enumerate();
            let waits: Vec<_> = members
                .filter(|(_, member)| !member.gone)
                .map(|(at, member)| Box::pin(async move { (at, member.child.wait().await) }))
                .collect();
            if waits.is_empty() {
                return std::future::pending().await;
            }
            let ((at, status), ..) = select_all(waits).await;
            self.members[at].gone = true;
            if was_killed(&status) && self.replace(at).is_ok() {
                continue;
            }
            let agent = self.members[at].agent;
            let mut others = self.members.iter();
            if others.all(|member| member.agent != agent || member.gone) {
                let status =
                    status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Failure::answered(format!("{agent} ended ({status})"));
            }
        }
    }

    /// Starts a successor of a process that is gone.
    fn replace(&mut self, at: usize) -> io::Result<()> {
        if self.replaced == MAX_REPLACED {
            return Err(io::Error::other("too many were killed"));
        }
        self.replaced += 1;
        let gone = &self.members[at];
        output::note(format!("{} was killed, another one takes over", gone.agent));
        self.members[at] = self.workplace.start(gone.agent, gone.number)?;
        Ok(())
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

/// By a signal: the program itself has found nothing wrong.
fn was_killed(status: &io::Result<ExitStatus>) -> bool {
    status
        .as_ref()
        .is_ok_and(|status| status.signal().is_some())
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
