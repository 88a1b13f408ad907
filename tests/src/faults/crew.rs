//! The probes of a cell: started, killed, stopped, woken, replaced, each of it noted in the history.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;

use crate::{Process, process::begin_probe};

use super::{
    Failed,
    history::{Recorder, now_ms},
};

/// Commands that one probe runs at once.
const CAPACITY: &str = "8";

/// One probe.
pub(super) struct Member {
    pub(super) process: Process,
    pub(super) instance: String,
}

/// All probes of a cell.
pub(super) struct Crew {
    pub(super) url: String,
    pub(super) effects: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) members: Vec<Member>,
    recorder: Arc<Recorder>,
}

impl Crew {
    pub(super) fn new(url: &str, effects: PathBuf, recorder: Arc<Recorder>) -> Self {
        Self {
            url: url.to_owned(),
            effects,
            environment: Vec::new(),
            members: Vec::new(),
            recorder,
        }
    }

    /// One more probe.
    pub(super) async fn join(&mut self) -> Result<(), Failed> {
        let member = self.start(&[]).await?;
        self.members
            .push(member.ok_or("an agent died at its start")?);
        Ok(())
    }

    /// One more probe, with a clock that is off by so much.
    pub(super) async fn join_off(&mut self, shim: &Path, by_ms: i64) -> Result<(), Failed> {
        let shim = shim.to_str().ok_or("a path in UTF-8")?;
        let seconds = (by_ms / 1_000).to_string();
        let environment = [("LD_PRELOAD", shim), ("CLOCK_OFF_SECONDS", &seconds)];
        let member = self.start(&environment).await?;
        let member = member.ok_or("an agent with a wrong clock died at its start")?;
        self.recorder.clock_is_off(&member.instance, by_ms);
        self.members.push(member);
        Ok(())
    }

    /// One more probe, which is to die at a step; its instance, unless it has died before anybody knew that.
    pub(super) async fn join_doomed(&mut self, failpoint: &str) -> Result<Option<String>, Failed> {
        let Some(member) = self.start(&[("MCP_FAILPOINT", failpoint)]).await? else {
            self.recorder.broke("failpoint of an agent", None, now_ms());
            return Ok(None);
        };
        let instance = member.instance.clone();
        self.members.push(member);
        Ok(Some(instance))
    }

    async fn start(&self, more: &[(&str, &str)]) -> Result<Option<Member>, Failed> {
        let effects = self.effects.to_str().ok_or("a path in UTF-8")?;
        let arguments = ["--effects-file", effects, "--capacity", CAPACITY];
        let own = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
        let mut process = begin_probe(&self.url, &arguments, &environment).await;
        if !process.gets_ready().await {
            return Ok(None);
        }
        let log = process.stderr();
        let instance = instance_in(&log).ok_or_else(|| format!("no instance in the log: {log}"))?;
        Ok(Some(Member { process, instance }))
    }

    /// Kills one (-9).
    pub(super) async fn kill(&mut self, place: usize) {
        let member = &mut self.members[place];
        let from_ms = now_ms();
        member.process.kill().await;
        self.recorder
            .broke("kill of an agent", Some(&member.instance), from_ms);
    }

    /// Stops one for so long, then lets it go on.
    pub(super) async fn pause(&self, place: usize, time: std::time::Duration) {
        let member = &self.members[place];
        let from_ms = now_ms();
        member.process.signal(Signal::STOP);
        tokio::time::sleep(time).await;
        member.process.signal(Signal::CONT);
        self.recorder
            .broke("stop of an agent", Some(&member.instance), from_ms);
    }

    /// Asks one to end; it must end well.
    pub(super) async fn dismiss(&mut self, place: usize) {
        let mut member = self.members.swap_remove(place);
        let status = member.process.terminate().await;
        if !status.success() {
            let text = format!("SIGTERM ended an agent with {status}");
            self.recorder.remarks("I1", text);
        }
    }

    /// Where somebody is, who may be gone.
    pub(super) fn place_of(&self, instance: &str) -> Option<usize> {
        let mut members = self.members.iter();
        members.position(|member| member.instance == instance)
    }

    /// Notes who has died of a failpoint, and whether all that were to die have.
    pub(super) fn bury_the_doomed(&mut self, doomed: &mut Vec<String>) {
        let recorder = &self.recorder;
        self.members.retain_mut(|member| {
            if !doomed.contains(&member.instance) || !member.process.has_ended() {
                return true;
            }
            recorder.broke("failpoint of an agent", Some(&member.instance), now_ms());
            doomed.retain(|one| *one != member.instance);
            false
        });
    }

    /// An agent that ended without being asked to is a finding.
    pub(super) fn must_live(&mut self) {
        for member in &mut self.members {
            if member.process.has_ended() {
                let text = format!("an agent died: {}", tail(&member.process.stderr()));
                self.recorder.remarks("I6", text);
            }
        }
    }
}

/// The end of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn instance_in(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(" ready "))?;
    let rest = line.split("instance=").nth(1)?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}
