//! One state of a definition, as its author writes it.

use std::{future::Future, sync::Arc, time::Duration};

use mcp_runtime::McpError;
use serde::de::DeserializeOwned;

use crate::{
    context::WorkflowContext,
    record::ChildWait,
    run::{BoxFuture, Steps, Work},
    shape::{StateKind, StateRetry},
    transition::WorkflowTransitionResult,
};

type Handler<S> = Arc<
    dyn Fn(WorkflowContext<S>) -> BoxFuture<Result<WorkflowTransitionResult, McpError>>
        + Send
        + Sync,
>;
type Hook<S> = Arc<dyn Fn(WorkflowContext<S>) -> BoxFuture<Result<(), McpError>> + Send + Sync>;

/// Retries of a compensation when the author says nothing else.
const COMPENSATION_RETRIES: u32 = 10;

/// A state: what runs in it, where it may lead to, and what happens when it fails.
#[must_use = "a state belongs into a definition"]
pub struct WorkflowState<S = ()> {
    pub(super) kind: StateKind,
    pub(super) to: Vec<String>,
    pub(super) completes: bool,
    pub(super) checkpoint: bool,
    pub(super) retry: StateRetry,
    pub(super) timeout: Option<Duration>,
    pub(super) on_error: Option<String>,
    pub(super) signal: Option<String>,
    pub(super) children: Option<ChildWait>,
    pub(super) then: Option<String>,
    pub(super) within: Option<Duration>,
    pub(super) or_else: Option<String>,
    pub(super) compensation: Option<StateRetry>,
    handler: Option<Handler<S>>,
    compensate: Option<Hook<S>>,
    on_enter: Option<Hook<S>>,
    on_exit: Option<Hook<S>>,
}

impl<S: Send + Sync + 'static> WorkflowState<S> {
    fn new(kind: StateKind) -> Self {
        Self {
            kind,
            to: Vec::new(),
            completes: false,
            checkpoint: false,
            retry: StateRetry::default(),
            timeout: None,
            on_error: None,
            signal: None,
            children: None,
            then: None,
            within: None,
            or_else: None,
            compensation: None,
            handler: None,
            compensate: None,
            on_enter: None,
            on_exit: None,
        }
    }

    /// A state in which an async function runs: `(WorkflowContext, D) -> Result<WorkflowTransitionResult, McpError>`, where
    /// `D` is the type of the workflow's data.
    ///
    /// It runs again when its engine dies in the middle of it, so its effects go through the context, which makes them
    /// idempotent.
    pub fn run<D, F, Fut>(handler: F) -> Self
    where
        D: DeserializeOwned + Send + 'static,
        F: Fn(WorkflowContext<S>, D) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<WorkflowTransitionResult, McpError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let mut state = Self::new(StateKind::Work);
        state.handler = Some(Arc::new(move |context| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let data = context.data::<D>()?;
                handler(context, data).await
            })
        }));
        state
    }

    /// A state that waits for a signal; say where it leads to with [`WorkflowState::then`].
    pub fn wait_for(signal: &str) -> Self {
        let mut state = Self::new(StateKind::Wait);
        state.signal = Some(signal.to_owned());
        state
    }

    /// A state that waits until none of the children that were started before is under way; say where that leads to with
    /// [`WorkflowState::then`].
    pub fn wait_for_children() -> Self {
        let mut state = Self::new(StateKind::Wait);
        state.children = Some(ChildWait::All);
        state
    }

    /// A state that waits until one of the children has ended, and no state has run since.
    pub fn wait_for_any_child() -> Self {
        let mut state = Self::new(StateKind::Wait);
        state.children = Some(ChildWait::Any);
        state
    }

    /// A state in which nothing happens until somebody moves the workflow on by a transition.
    pub fn manual() -> Self {
        Self::new(StateKind::Manual)
    }

    /// An end.
    pub fn end() -> Self {
        Self::new(StateKind::Final)
    }

    /// Allows a transition; may be called again for more.
    pub fn to(mut self, state: &str) -> Self {
        self.to.push(state.to_owned());
        self
    }

    /// Of a state that waits for a signal: where it leads to.
    pub fn then(mut self, state: &str) -> Self {
        self.then = Some(state.to_owned());
        self.to(state)
    }

    /// Of a state that waits for a signal: no longer than this; then to another state.
    pub fn within(mut self, time: Duration, or_else: &str) -> Self {
        self.within = Some(time);
        self.or_else = Some(or_else.to_owned());
        self.to(or_else)
    }

    /// Allows the handler to complete the workflow here, without a final state.
    pub fn completes(mut self) -> Self {
        self.completes = true;
        self
    }

    /// Makes a checkpoint of the state's name whenever it is entered.
    pub fn checkpoint(mut self) -> Self {
        self.checkpoint = true;
        self
    }

    /// How failures are retried (default 3 times, from 1 s, TEMPORARY errors only).
    pub fn retry(mut self, retry: StateRetry) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt may take (default: any time). Then it fails with the TEMPORARY error `TIMEOUT`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where it leads to when it has failed for good.
    pub fn on_error(mut self, state: &str) -> Self {
        self.on_error = Some(state.to_owned());
        self
    }

    /// How the state is undone once it is completed: when the workflow fails, or is stopped with
    /// [`ControlWorkflow::compensate`](crate::ControlWorkflow::compensate), those of the completed states run in reverse.
    /// It gets the workflow's data as they are then, and like a state it may run again.
    pub fn compensate<D, F, Fut>(mut self, handler: F) -> Self
    where
        D: DeserializeOwned + Send + 'static,
        F: Fn(WorkflowContext<S>, D) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), McpError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.compensate = Some(Arc::new(move |context| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let data = context.data::<D>()?;
                handler(context, data).await
            })
        }));
        // More patient than a state: what is not undone stays wrong.
        self.compensation
            .get_or_insert_with(|| StateRetry::times(COMPENSATION_RETRIES));
        self
    }

    /// How failures of its compensation are retried (default 10 times, from 1 s, TEMPORARY errors only). One that has failed
    /// for good is noted in the record, and the next one runs.
    pub fn compensation_retry(mut self, retry: StateRetry) -> Self {
        self.compensation = Some(retry);
        self
    }

    /// Runs before the state, once for each entry; again only when the engine dies meanwhile. Its failure is the state's.
    pub fn on_enter<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(WorkflowContext<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), McpError>> + Send + 'static,
    {
        self.on_enter = Some(Arc::new(move |context| Box::pin(hook(context))));
        self
    }

    /// Runs when the workflow goes on from here to another state, or completes. Its failure is the state's; where
    /// somebody else decided to leave (a transition, a signal, a timer) it is only logged. Not run by errors, a stop or a
    /// restore.
    pub fn on_exit<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(WorkflowContext<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), McpError>> + Send + 'static,
    {
        self.on_exit = Some(Arc::new(move |context| Box::pin(hook(context))));
        self
    }

    pub(super) fn has_hooks(&self) -> (bool, bool) {
        (self.on_enter.is_some(), self.on_exit.is_some())
    }

    /// The same with the agent's state inside, so that an engine needs to know nothing of it.
    pub(super) fn bound(self, agent: &Arc<S>) -> Steps {
        let hook = |hook: Option<Hook<S>>| {
            let agent = Arc::clone(agent);
            hook.map(|hook| {
                let bound: Work<()> = Box::new(move |context| hook(context.with(&agent)));
                bound
            })
        };
        let (on_enter, on_exit) = (hook(self.on_enter), hook(self.on_exit));
        let compensate = hook(self.compensate);
        let agent = Arc::clone(agent);
        let handler = self.handler.map(|handler| {
            let bound: Work<WorkflowTransitionResult> =
                Box::new(move |context| handler(context.with(&agent)));
            bound
        });
        Steps {
            handler,
            compensate,
            on_enter,
            on_exit,
        }
    }
}
