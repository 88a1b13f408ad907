//! What completed states have to be undone, and how far that has come.

use mcp_runtime::{McpError, Name};
use serde::{Deserialize, Serialize};

use super::WorkflowStatus;

/// How many completed states may wait for their compensation.
pub(crate) const MAX_COMPENSATIONS: usize = 256;

/// How far the compensation of a workflow's completed states has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Compensation {
    /// The completed states that have one, in the order in which they were completed; the last is undone first.
    pub steps: Vec<CompensationStep>,
    /// While it is under way: what the status will be after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_as: Option<WorkflowStatus>,
}

/// A completed state that is to be undone, or was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CompensationStep {
    /// The state.
    pub state: Name,
    /// The entry that was completed: what it sent has the keys of that entry.
    pub entry: u64,
    /// How far it has come.
    pub progress: CompensationProgress,
    /// The last error of its compensation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<McpError>,
}

/// How far the compensation of one state has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompensationProgress {
    /// Not compensated yet.
    Left,
    /// Compensated.
    Done,
    /// Its compensation has failed for good; a resume tries again.
    Failed,
}

impl Compensation {
    pub(crate) fn push(&mut self, state: Name, entry: u64) {
        self.steps.push(CompensationStep {
            state,
            entry,
            progress: CompensationProgress::Left,
            error: None,
        });
    }

    /// How many states are as far as this.
    #[must_use]
    pub fn count(&self, progress: CompensationProgress) -> usize {
        let steps = self.steps.iter();
        steps.filter(|step| step.progress == progress).count()
    }

    /// Whether it has begun at all: something is done or failed.
    pub(crate) fn has_begun(&self) -> bool {
        self.count(CompensationProgress::Left) < self.steps.len()
    }

    /// The state whose turn it is, while it is under way.
    #[must_use]
    pub fn current(&self) -> Option<&CompensationStep> {
        let left = |step: &&CompensationStep| step.progress == CompensationProgress::Left;
        let last = self.steps.iter().rfind(left);
        last.filter(|_| self.ends_as.is_some())
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut CompensationStep> {
        let under_way = self.ends_as.is_some();
        let left = |step: &&mut CompensationStep| step.progress == CompensationProgress::Left;
        self.steps.iter_mut().rfind(left).filter(|_| under_way)
    }

    /// What has failed is to be tried again.
    pub(crate) fn retry_failed(&mut self) {
        for step in &mut self.steps {
            if step.progress == CompensationProgress::Failed {
                step.progress = CompensationProgress::Left;
            }
        }
    }

    /// The workflow begins anew: what is undone has never been.
    pub(crate) fn forget_done(&mut self) {
        let done = CompensationProgress::Done;
        self.steps.retain(|step| step.progress != done);
        self.retry_failed();
    }
}
