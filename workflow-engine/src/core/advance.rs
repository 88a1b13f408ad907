//! What the end of a state's run does to its workflow.

use std::time::Duration;

use mcp_runtime::{McpError, Name, Raw};

use crate::{
    record::{ChildStart, ChildWait, Wait},
    shape::{StateKind, StateShape, millis},
};

use super::{codes, compensate::compensated, draft::Draft, refusal};

/// Retries sooner than this are slept out by the engine that has the task; longer ones are timers.
pub(super) const TIMER_FROM: Duration = Duration::from_secs(1);

/// What a state decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The new data; `None` leaves it as it is.
    pub(crate) data: Option<Raw>,
    pub(crate) next: Next,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    To(Name),
    Stay,
    Wait {
        signals: Vec<Name>,
        children: Option<ChildWait>,
        within: Option<Duration>,
    },
    After {
        delay: Duration,
        to: Option<Name>,
    },
    Complete,
    Fail(McpError),
}

/// How a run of a state ended.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    /// The entry hook has run, in this run or before.
    pub(crate) entered: bool,
    pub(crate) outcome: Result<Outcome, McpError>,
    /// What it has started.
    pub(crate) children: Vec<ChildStart>,
    /// Uniform in 0 to 1, for the jitter of a retry.
    pub(crate) draw: f64,
}

/// Takes in how a run ended. Returns how long to wait before the next attempt when that is not worth a timer.
pub(crate) fn advance(draft: &mut Draft<'_>, ran: &Ran) -> Option<Duration> {
    if draft.is_compensating() {
        return compensated(draft, ran);
    }
    draft.record.entered = ran.entered;
    let Some(state) = draft.shape.state(&draft.record.state).cloned() else {
        fail_without_state(draft);
        return None;
    };
    match &ran.outcome {
        Ok(outcome) => match decided(draft, &state, ran, outcome) {
            Ok(()) => {
                if let Some(data) = &outcome.data {
                    draft.record.data = data.clone();
                }
                draft.record.error = None;
                match &outcome.next {
                    Next::Fail(error) => fail(draft, &state, error.clone()),
                    next => go_on(draft, next),
                }
                None
            }
            Err(error) => {
                fail(draft, &state, error);
                None
            }
        },
        Err(error) => retry_or_fail(draft, &state, error, ran.draw),
    }
}

/// Whether the definition and the record have room for what the state decided. What it has started is noted.
fn decided(
    draft: &mut Draft<'_>,
    state: &StateShape,
    ran: &Ran,
    outcome: &Outcome,
) -> Result<(), McpError> {
    allowed(state, outcome)?;
    draft.start_children(&ran.children)?;
    let Next::Wait {
        children: Some(children),
        ..
    } = &outcome.next
    else {
        return Ok(());
    };
    // It would run again at once, and decide the same again.
    match draft.children_have_ended(Some(children)) {
        true => Err(refusal(
            codes::STATE_MISMATCH,
            format!(
                "`{}` waits for children that have all ended; look at them before",
                state.name
            ),
        )),
        false => Ok(()),
    }
}

fn fail_without_state(draft: &mut Draft<'_>) {
    let gone = format!("there is no state `{}`", draft.record.state);
    draft.fail(refusal(codes::NO_SUCH_STATE, gone));
}

/// What a state does of which nothing runs.
pub(crate) fn advance_by_itself(draft: &mut Draft<'_>) {
    draft.record.entered = true;
    let kind = draft
        .shape
        .state(&draft.record.state)
        .map(|state| state.kind);
    match kind {
        Some(StateKind::Final) => draft.complete(),
        Some(StateKind::Wait) => {
            let wait = draft.wait_of_state();
            draft.wait(wait);
        }
        Some(StateKind::Manual) => draft.wait(Wait::default()),
        // It runs; this is not called for it.
        Some(StateKind::Work) => {}
        // Begun by an engine without the version: nobody could tell.
        None => fail_without_state(draft),
    }
}

/// Whether the definition has what the state decided.
fn allowed(state: &StateShape, outcome: &Outcome) -> Result<(), McpError> {
    let to = match &outcome.next {
        Next::To(to) | Next::After { to: Some(to), .. } => to,
        Next::Complete if state.kind == StateKind::Work && !state.completes => {
            let message = format!(
                "`{}` completed the workflow without being declared to; add `.completes()`",
                state.name
            );
            return Err(refusal(codes::ILLEGAL_TRANSITION, message));
        }
        _ => return Ok(()),
    };
    match state.leads_to(to) {
        true => Ok(()),
        false => Err(refusal(
            codes::ILLEGAL_TRANSITION,
            format!(
                "`{}` does not lead to `{to}`; add `.to(\"{to}\")`",
                state.name
            ),
        )),
    }
}

fn go_on(draft: &mut Draft<'_>, next: &Next) {
    match next {
        Next::To(to) => draft.enter(to, "state"),
        Next::Stay => match draft
            .shape
            .state(&draft.record.state)
            .map(|state| state.kind)
        {
            Some(StateKind::Work) | None => draft.wait(Wait::default()),
            // Only its entry hook has run.
            Some(_) => advance_by_itself(draft),
        },
        Next::Wait {
            signals,
            children,
            within,
        } => {
            let wait = Wait {
                signals: signals.clone(),
                children: children.clone(),
                until: within.map(|within| draft.now_ms.saturating_add(millis(within))),
                ..Wait::default()
            };
            draft.wait(wait);
        }
        Next::After { delay, to } => {
            let wait = Wait {
                until: Some(draft.now_ms.saturating_add(millis(*delay))),
                or_else: to.clone(),
                ..Wait::default()
            };
            draft.wait(wait);
        }
        Next::Complete => draft.complete(),
        Next::Fail(_) => {}
    }
}

fn retry_or_fail(
    draft: &mut Draft<'_>,
    state: &StateShape,
    error: &McpError,
    draw: f64,
) -> Option<Duration> {
    let Some(delay) = state.retry.after(draft.record.attempt, error, draw) else {
        fail(draft, state, error.clone());
        return None;
    };
    draft.record.error = Some(error.clone());
    draft.record.attempt += 1;
    draft.record.takeovers = 0;
    if delay < TIMER_FROM {
        return Some(delay);
    }
    let until = draft.now_ms.saturating_add(millis(delay));
    draft.wait_for_retry(until);
    None
}

/// To the error state, if there is one to go to; an error state that fails itself ends the workflow.
pub(crate) fn fail(draft: &mut Draft<'_>, state: &StateShape, error: McpError) {
    if draft.is_compensating() {
        return draft.step_compensated(Some(error));
    }
    let way_out = state.on_error.as_ref().or(draft.shape.on_error.as_ref());
    let way_out = way_out.filter(|to| **to != state.name && !draft.goes_in_circles());
    match way_out.cloned() {
        Some(to) => {
            draft.enter(&to, "error");
            draft.record.error = Some(error);
        }
        None => draft.fail(error),
    }
}
