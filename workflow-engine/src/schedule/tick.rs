//! The workflow of a schedule: one state, which runs when a time has come or somebody says something.

use std::{future::IntoFuture, time::Duration};

use mcp_runtime::{McpError, SendError, code, telemetry, transport::server_now_ms};
use tracing::Instrument;

use crate::{
    context::WorkflowContext,
    definition::{Workflow, WorkflowState},
    shape::{StateRetry, WorkflowEvents},
    transition::WorkflowTransitionResult as Then,
    workflows::{WorkflowError, Workflows},
};

use super::{
    SCHEDULES,
    plan::{Fired, Plan, What},
    times::stamp,
};

/// What a schedule can be told.
pub(super) const DEFINE: &str = "define";
pub(super) const PAUSE: &str = "pause";
pub(super) const RESUME: &str = "resume";
pub(super) const REMOVE: &str = "remove";
pub(super) const RUN_NOW: &str = "run_now";

/// The definition that runs schedules, for the agent that is to host them.
pub fn schedule_workflow<S: Send + Sync + 'static>() -> Workflow<S> {
    // A server that is away must not end a schedule.
    let patient = StateRetry::times(u32::MAX)
        .delay(Duration::from_secs(1))
        .max_delay(Duration::from_secs(60));
    Workflow::new(SCHEDULES)
        .events(WorkflowEvents::Lifecycle)
        .state(
            "scheduled",
            WorkflowState::run(tick).completes().retry(patient),
        )
}

/// Whatever has come: it is done, and the next time is waited for. Done again after a crash it fires the same ids.
async fn tick<S: Send + Sync + 'static>(
    ctx: WorkflowContext<S>,
    mut plan: Plan,
) -> Result<Then, McpError> {
    // A plan that was started by hand, whose times never pass, would fire for ever.
    plan.check()
        .map_err(|error| McpError::permanent(code::INVALID_PARAMETERS).message(error))?;
    let now_ms = server_now_ms(ctx.client());
    if let Some(signal) = ctx.signal() {
        // What was due before somebody said so is not what it was said of.
        for at in plan.due_until(signal.at.min(now_ms), now_ms) {
            fire(&ctx, &mut plan, at, &stamp(at)).await?;
        }
        match signal.name.as_str() {
            DEFINE => plan = defined(&plan, signal.data.decode())?,
            PAUSE => plan.pause(),
            RESUME => plan.resume(now_ms),
            REMOVE => plan.remove(),
            RUN_NOW if !plan.removed => {
                // Two may have been asked for at the same time; each is an entry of its own.
                let own = format!("now-{}-{}", signal.at, ctx.entry());
                fire(&ctx, &mut plan, signal.at, &own).await?;
            }
            _ => {}
        }
    }
    for at in plan.due(now_ms) {
        fire(&ctx, &mut plan, at, &stamp(at)).await?;
    }
    let wait = Then::wait_for(DEFINE)
        .or_for(PAUSE)
        .or_for(RESUME)
        .or_for(REMOVE)
        .or_for(RUN_NOW);
    let wait = match plan.next {
        Some(next) => wait.within(Duration::from_millis(next.saturating_sub(now_ms))),
        None => wait,
    };
    Ok(wait.with(&plan))
}

/// A new plan under an old name; what has been counted stays.
fn defined(old: &Plan, new: Result<Plan, mcp_runtime::DecodeError>) -> Result<Plan, McpError> {
    // Whoever signals by hand may send anything: the schedule goes on as it was.
    let Some(new) = new.ok().filter(|new| new.check().is_ok()) else {
        return Ok(old.clone());
    };
    Ok(Plan {
        last: old.last.clone(),
        fired: old.fired,
        missed: old.missed,
        ..new
    })
}

async fn fire<S>(
    ctx: &WorkflowContext<S>,
    plan: &mut Plan,
    at: u64,
    stamp: &str,
) -> Result<(), McpError> {
    let id = format!("{}-{stamp}", plan.name);
    let span = telemetry::fire_span(plan.name.as_str());
    let done = match &plan.what {
        What::Start { definition, data } => {
            let workflows = Workflows::new(ctx.client());
            let start = workflows.create_workflow(definition.as_str(), None, data);
            match start.id(&id).into_future().instrument(span).await {
                Ok(_) => Ok(()),
                Err(WorkflowError::Transport { reason }) => return Err(away(reason)),
                Err(error) => Err(error.to_string()),
            }
        }
        What::Send {
            agent,
            action,
            parameters,
        } => {
            let client = ctx.client();
            let command = client.submit_command(agent.as_str(), action.as_str(), parameters);
            let command = command.idempotency_key(&id).into_future();
            match command.instrument(span).await {
                Ok(_) => Ok(()),
                Err(SendError::Transport { reason }) => return Err(away(reason)),
                Err(error) => Err(error.to_string()),
            }
        }
    };
    plan.fired = plan.fired.saturating_add(1);
    plan.error = done.err();
    plan.last = Some(Fired { at, id });
    Ok(())
}

fn away(reason: String) -> McpError {
    McpError::temporary(code::TRANSPORT_UNAVAILABLE).message(reason)
}
