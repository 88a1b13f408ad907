//! Undoing what is completed, from the last to the first: each state's compensation is an entry of its own.

use std::time::Duration;

use mcp_runtime::McpError;

use crate::{
    effect::Happening,
    record::{CompensationProgress, MAX_COMPENSATIONS, WorkflowStatus},
    shape::{StateRetry, millis},
};

use super::{
    advance::{Ran, TIMER_FROM},
    codes,
    draft::Draft,
};

impl Draft<'_> {
    /// The current state is left because it is done: from now on it can be undone.
    pub(super) fn complete_state(&mut self) -> Result<(), McpError> {
        let state = self.shape.state(&self.record.state);
        if state.is_none_or(|state| state.compensation.is_none()) {
            return Ok(());
        }
        let (state, entry) = (self.record.state.clone(), self.record.entry);
        let compensation = self.record.compensation.get_or_insert_default();
        if compensation.steps.len() >= MAX_COMPENSATIONS {
            return Err(
                McpError::permanent(codes::PAYLOAD_TOO_LARGE).message(format!(
                    "{MAX_COMPENSATIONS} completed states wait for compensation; no more can be remembered"
                )),
            );
        }
        compensation.push(state, entry);
        Ok(())
    }

    pub(super) fn is_compensating(&self) -> bool {
        self.record.compensates().is_some()
    }

    /// Begins to undo what is completed, after which the workflow ends so; `false` when there is nothing to undo.
    pub(super) fn compensate(&mut self, ends_as: WorkflowStatus) -> bool {
        let Some(compensation) = &mut self.record.compensation else {
            return false;
        };
        if compensation.count(CompensationProgress::Left) == 0 {
            return false;
        }
        compensation.ends_as = Some(ends_as);
        self.begin_entry();
        self.happened(Happening::Compensating);
        true
    }

    /// What has failed to be undone is tried again.
    pub(super) fn compensate_again(&mut self, ends_as: WorkflowStatus) -> bool {
        if let Some(compensation) = &mut self.record.compensation {
            compensation.retry_failed();
        }
        self.compensate(ends_as)
    }

    /// Nothing more is undone; the record says what is left.
    pub(super) fn stop_compensating(&mut self) {
        if let Some(compensation) = &mut self.record.compensation {
            compensation.ends_as = None;
        }
        self.stop();
    }

    /// The state whose turn it was is undone, or will not be; then the next one's, or the end.
    pub(super) fn step_compensated(&mut self, error: Option<McpError>) {
        let Some(compensation) = &mut self.record.compensation else {
            return;
        };
        if let Some(step) = compensation.current_mut() {
            step.progress = match &error {
                Some(_) => CompensationProgress::Failed,
                None => CompensationProgress::Done,
            };
            step.error = error;
        }
        if compensation.current().is_some() {
            return self.begin_entry();
        }
        match compensation.ends_as.take() {
            Some(WorkflowStatus::Stopped) => self.stop(),
            _ => self.end(WorkflowStatus::Failed, Happening::Failed),
        }
    }
}

/// Takes in how the run of a compensation ended. Returns how long to wait before the next attempt when that is not worth a
/// timer.
pub(super) fn compensated(draft: &mut Draft<'_>, ran: &Ran) -> Option<Duration> {
    let Err(error) = &ran.outcome else {
        draft.step_compensated(None);
        return None;
    };
    let Some(delay) = retry_of(draft).after(draft.record.attempt, error, ran.draw) else {
        draft.step_compensated(Some(error.clone()));
        return None;
    };
    let compensation = draft.record.compensation.as_mut();
    if let Some(step) = compensation.and_then(|compensation| compensation.current_mut()) {
        step.error = Some(error.clone());
    }
    draft.record.attempt += 1;
    draft.record.takeovers = 0;
    if delay < TIMER_FROM {
        return Some(delay);
    }
    draft.wait_for_retry(draft.now_ms.saturating_add(millis(delay)));
    None
}

/// What the definition says; a version that does not know the state has no retries.
fn retry_of(draft: &Draft<'_>) -> StateRetry {
    let step = draft.record.compensates();
    let state = step.and_then(|step| draft.shape.state(&step.state));
    let retry = state.and_then(|state| state.compensation.clone());
    retry.unwrap_or_else(StateRetry::never)
}
