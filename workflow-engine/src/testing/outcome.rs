//! What came of a run, and what can be said about it.

use std::time::Duration;

use mcp_runtime::{DecodeError, McpError, Raw};
use serde::de::DeserializeOwned;

use crate::record::{WorkflowRecord, WorkflowStatus};

use super::error::WorkflowTestError;

/// A command that an agent of the test has executed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SentCommand {
    /// Who executed it.
    pub agent: String,
    /// What.
    pub action: String,
    /// With which parameters.
    pub parameters: Raw,
    /// Its idempotency key; commands that are sent through the context have one.
    pub key: Option<String>,
    /// What was answered.
    pub outcome: Result<Raw, McpError>,
}

/// An event that a state has published.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SentEvent {
    /// What happened.
    pub name: String,
    /// What there is to know about it.
    pub data: Raw,
}

/// A workflow after its run. What it asserts names what there was instead.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkflowRun {
    /// The record at the end.
    pub record: WorkflowRecord,
    /// The commands that were executed, in their order; those that were answered again are not among them.
    pub commands: Vec<SentCommand>,
    /// The events that states have published, in their order.
    pub events: Vec<SentEvent>,
    /// The virtual time that it took.
    pub elapsed: Duration,
}

impl WorkflowRun {
    /// The states that it was in, in their order: as many as a record remembers.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        let history = &self.record.history;
        let first = history
            .first()
            .map_or(&self.record.state, |entry| &entry.from);
        let path = std::iter::once(first).chain(history.iter().map(|entry| &entry.to));
        path.map(|state| state.as_str()).collect()
    }

    /// The status at the end.
    #[must_use]
    pub fn status(&self) -> WorkflowStatus {
        self.record.status
    }

    /// The data at the end.
    ///
    /// # Errors
    /// When they have another shape; the error names the field.
    pub fn data<D: DeserializeOwned>(&self) -> Result<D, DecodeError> {
        self.record.data()
    }

    /// How often an action was executed, whatever it answered.
    #[must_use]
    pub fn count(&self, agent: &str, action: &str) -> usize {
        let asked = |command: &&SentCommand| command.agent == agent && command.action == action;
        self.commands.iter().filter(asked).count()
    }

    /// Asserts which states it was in.
    ///
    /// # Panics
    /// When it was in others.
    #[track_caller]
    pub fn assert_path(&self, expected: &[&str]) -> &Self {
        assert_eq!(self.path(), expected, "the path, with {}", self.end());
        self
    }

    /// Asserts how it stands at the end.
    ///
    /// # Panics
    /// When it stands otherwise.
    #[track_caller]
    pub fn assert_status(&self, expected: WorkflowStatus) -> &Self {
        assert_eq!(self.status(), expected, "the status, with {}", self.end());
        self
    }

    /// Asserts the code of the error that it ended with or handles.
    ///
    /// # Panics
    /// When it has another, or none.
    #[track_caller]
    pub fn assert_error(&self, code: &str) -> &Self {
        let found = self.record.error.as_ref().map(|error| error.code.as_str());
        assert_eq!(found, Some(code), "the error, with {}", self.end());
        self
    }

    /// The end in a line.
    fn end(&self) -> String {
        let error = self.record.error.as_ref();
        let error = error.map_or(String::new(), |error| format!(", error {error}"));
        let path = self.path().join(" > ");
        format!("{} after {path}{error}", self.record.status)
    }

    /// Whether a run with a crash came to the same end, by the same way, and took effect as often.
    pub(super) fn compare(&self, crashed: &Self, place: &str) -> Result<(), WorkflowTestError> {
        let check = |what: &str, of: &dyn Fn(&Self) -> String| {
            let (undisturbed, with_crash) = (of(self), of(crashed));
            match undisturbed == with_crash {
                true => Ok(()),
                false => Err(WorkflowTestError::Differs {
                    place: place.to_owned(),
                    what: what.to_owned(),
                    undisturbed,
                    crashed: with_crash,
                }),
            }
        };
        check("the end", &Self::end)?;
        check("the data", &|run| json(&run.record.data))?;
        check("the children", &Self::children)?;
        check("what was done", &Self::effects)?;
        check("what was published", &|run| {
            sorted(
                run.events
                    .iter()
                    .map(|event| format!("{} {}", event.name, json(&event.data))),
            )
        })
    }

    fn children(&self) -> String {
        let children = self.record.children.iter();
        sorted(children.map(|child| {
            let how = child.status.map_or("under way", WorkflowStatus::as_str);
            format!("{} {how}", child.id)
        }))
    }

    /// What the agents have done. An attempt that failed may have been made once more or less.
    fn effects(&self) -> String {
        let done = self
            .commands
            .iter()
            .filter(|command| command.outcome.is_ok());
        sorted(done.map(|command| {
            let SentCommand {
                agent,
                action,
                parameters,
                ..
            } = command;
            format!("{agent}.{action} {}", json(parameters))
        }))
    }
}

/// Side by side commands have no order.
fn sorted(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines.join(", ")
}

fn json(value: &Raw) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| format!("{value:?}"))
}

/// What came of the runs in which engines died: all of them ended as the one without harm.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CrashReport {
    /// How many runs with a crash there were.
    pub crashes: u64,
    /// The run without a crash.
    pub run: WorkflowRun,
}
