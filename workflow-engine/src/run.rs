//! Running one state: its entry hook, its handler, its exit hook, within its time.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, time::Duration};

use futures_util::FutureExt;
use mcp_runtime::{McpError, code};

use crate::{
    context::{Part, Scope},
    core::Ran,
    shape::StateShape,
    transition::WorkflowTransitionResult,
};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type Work<T> = Box<dyn Fn(Scope) -> BoxFuture<Result<T, McpError>> + Send + Sync>;

/// What an author's state consists of, without its types.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) handler: Option<Work<WorkflowTransitionResult>>,
    pub(crate) compensate: Option<Work<()>>,
    pub(crate) on_enter: Option<Work<()>>,
    pub(crate) on_exit: Option<Work<()>>,
}

/// Runs a state from wherever its entry has got to, or its compensation.
pub(crate) async fn run(steps: &Steps, state: &StateShape, scope: Scope) -> Ran {
    let mut entered = scope.record.entered;
    let outcome = match scope.record.compensates() {
        Some(_) => in_time(state, undone(steps, &scope)).await,
        None => in_time(state, whole(steps, &scope, &mut entered)).await,
    };
    let outcome = outcome.and_then(WorkflowTransitionResult::outcome);
    Ran {
        entered,
        outcome,
        children: scope.started.take(),
        draw: rand::random(),
    }
}

async fn in_time<T>(
    state: &StateShape,
    work: impl Future<Output = Result<T, McpError>>,
) -> Result<T, McpError> {
    let Some(limit) = state.timeout_ms.map(Duration::from_millis) else {
        return work.await;
    };
    let timed = tokio::time::timeout(limit, work).await;
    timed.unwrap_or_else(|_| {
        Err(McpError::temporary(code::TIMEOUT)
            .message(format!("`{}` did not end within {limit:?}", state.name)))
    })
}

/// A compensation decides nothing: it is done, or it is not.
async fn undone(steps: &Steps, scope: &Scope) -> Result<WorkflowTransitionResult, McpError> {
    let Some(compensate) = &steps.compensate else {
        return Err(McpError::permanent(code::NO_SUCH_STATE)
            .message("this version of the definition has no compensation for the state"));
    };
    guarded(compensate(scope.part(Part::State))).await?;
    Ok(WorkflowTransitionResult::stay())
}

async fn whole(
    steps: &Steps,
    scope: &Scope,
    entered: &mut bool,
) -> Result<WorkflowTransitionResult, McpError> {
    if let Some(hook) = steps.on_enter.as_ref().filter(|_| !*entered) {
        guarded(hook(scope.part(Part::Enter))).await?;
    }
    *entered = true;
    let Some(handler) = &steps.handler else {
        // The core knows what a state without a handler does.
        return Ok(WorkflowTransitionResult::stay());
    };
    let result = guarded(handler(scope.part(Part::State))).await?;
    if let Some(hook) = steps.on_exit.as_ref().filter(|_| result.leaves()) {
        guarded(hook(scope.part(Part::Exit))).await?;
    }
    Ok(result)
}

/// The exit hook of a state that somebody else has decided to leave.
pub(crate) async fn exit(steps: &Steps, state: &StateShape, scope: &Scope) {
    let Some(hook) = &steps.on_exit else { return };
    if let Err(error) = in_time(state, guarded(hook(scope.part(Part::Exit)))).await {
        tracing::error!(
            definition = %scope.record.definition,
            state = %scope.record.state,
            code = error.code,
            "an exit hook failed; the workflow goes on"
        );
    }
}

/// A panic is an error like any other.
async fn guarded<T>(work: BoxFuture<Result<T, McpError>>) -> Result<T, McpError> {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        Err(McpError::temporary(code::HANDLER_PANICKED).message("the state panicked"))
    })
}

/// The core runs only what the shape has, and each of its states has its steps.
pub(crate) fn no_code() -> Ran {
    Ran {
        entered: true,
        outcome: Err(McpError::permanent(code::INTERNAL).message("the state has no code")),
        children: Vec::new(),
        draw: 0.0,
    }
}
