//! A definition without its code: states, transitions and policies, as the core and the tools see it.

use std::time::Duration;

use mcp_runtime::{
    McpError, Name,
    resilience::{Checked, InvalidConfig, RetryConfig},
};
use serde::{Deserialize, Serialize};

use crate::record::ChildWait;

/// A workflow definition as data; kept as JSON in the bucket `mcp_definitions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowShape {
    /// The definition's name.
    pub name: Name,
    /// Its version; a workflow stays on the one it began with.
    pub version: String,
    /// Where a workflow begins when its start names no state.
    pub initial: Name,
    /// The states in the order of their declaration.
    pub states: Vec<StateShape>,
    /// Where a state that failed leads to when it names no state of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Name>,
    /// Which events are published.
    #[serde(default)]
    pub events: WorkflowEvents,
    /// Fields of the data that workflows may be searched by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// The versions from which a migration function leads here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrates_from: Vec<String>,
}

/// Which events of a workflow are published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowEvents {
    /// Also each change of state.
    #[default]
    All,
    /// All but `transitioned`.
    Lifecycle,
}

/// What a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// Runs a handler that decides what comes next.
    Work,
    /// Waits for a signal.
    Wait,
    /// Waits until somebody moves the workflow on by a transition.
    Manual,
    /// An end.
    Final,
}

/// One state of a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateShape {
    /// The state's name.
    pub name: Name,
    /// What it is.
    pub kind: StateKind,
    /// The states it may lead to.
    #[serde(default)]
    pub transitions: Vec<Name>,
    /// Its handler may complete the workflow without a final state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub completes: bool,
    /// Something runs when it is entered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_enter: bool,
    /// Something runs when it is left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_exit: bool,
    /// A checkpoint of the state's name is made on entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint: bool,
    /// How its failures are retried.
    #[serde(default)]
    pub retry: StateRetry,
    /// How long one attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Where it leads to when it has failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Name>,
    /// It can be undone, and this is how failures of that are retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<StateRetry>,
    /// Of a state that waits: the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Name>,
    /// Of a state that waits: for children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) children: Option<ChildWait>,
    /// Of a state that waits: where the signal leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Name>,
    /// Of a state that waits: for how long, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// Of a state that waits: where the end of that time leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or_else: Option<Name>,
}

/// How the failures of a state are retried.
///
/// ```
/// use std::time::Duration;
/// use mcp_workflow_engine::StateRetry;
/// let retry = StateRetry::times(5).delay(Duration::from_millis(100)).on(["GPU_BUSY"]);
/// assert_eq!(retry.max_retries, 5);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateRetry {
    /// Retries after the first attempt (default 3). An error's own advice may lower it.
    pub max_retries: u32,
    /// Before the first retry; doubles with each (default 1 s).
    pub base_delay_ms: u64,
    /// What the doubling stops at (default 60 s).
    pub max_delay_ms: u64,
    /// Which part of the delay is random, 0 to 1 (default 1).
    pub jitter: f64,
    /// Only errors with one of these codes; empty (the default): every TEMPORARY error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

impl Default for StateRetry {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base_delay_ms: 1_000,
            max_delay_ms: 60_000,
            jitter: 1.0,
            codes: Vec::new(),
        }
    }
}

impl StateRetry {
    /// So many retries after the first attempt.
    #[must_use]
    pub fn times(max_retries: u32) -> Self {
        Self {
            max_retries,
            ..Self::default()
        }
    }

    /// No retries.
    #[must_use]
    pub fn never() -> Self {
        Self::times(0)
    }

    /// The delay before the first retry; doubles with each.
    #[must_use]
    pub fn delay(mut self, base: Duration) -> Self {
        self.base_delay_ms = millis(base);
        self.max_delay_ms = self.max_delay_ms.max(self.base_delay_ms);
        self
    }

    /// What the doubling stops at.
    #[must_use]
    pub fn max_delay(mut self, max: Duration) -> Self {
        self.max_delay_ms = millis(max);
        self
    }

    /// Which part of the delay is random, 0 to 1.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Only errors with one of these codes, also PERMANENT ones.
    #[must_use]
    pub fn on<C: Into<String>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.codes = codes.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn config(&self) -> Result<Checked<RetryConfig>, InvalidConfig> {
        Checked::new(RetryConfig {
            max_retries: self.max_retries,
            base_delay: Duration::from_millis(self.base_delay_ms),
            max_delay: Duration::from_millis(self.max_delay_ms),
            jitter: self.jitter,
        })
    }

    /// The delay before the next attempt; `None` when there is none. `draw` is uniform in 0 to 1.
    pub(crate) fn after(&self, attempt: u32, error: &McpError, draw: f64) -> Option<Duration> {
        let applies = match self.codes.is_empty() {
            true => error.is_temporary(),
            false => self.codes.contains(&error.code),
        };
        let allowed = error.max_retries.unwrap_or(u32::MAX).min(self.max_retries);
        if !applies || attempt > allowed {
            return None;
        }
        let config = self.config().ok()?;
        Some(config.delay(attempt.saturating_sub(1), error.retry_delay, draw))
    }
}

impl WorkflowShape {
    /// A state by its name.
    #[must_use]
    pub fn state(&self, name: &Name) -> Option<&StateShape> {
        self.states.iter().find(|state| state.name == *name)
    }
}

impl StateShape {
    /// Whether the state may lead to another.
    pub(crate) fn leads_to(&self, to: &Name) -> bool {
        self.transitions.contains(to)
    }

    /// Whether something of the author's runs in this entry.
    pub(crate) fn needs_run(&self, entered: bool) -> bool {
        self.kind == StateKind::Work || (self.on_enter && !entered)
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
