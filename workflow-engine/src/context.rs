//! What a state sees of its workflow, and how it takes effect.

mod children;
mod parallel;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use mcp_runtime::{
    Action, Client, McpError, PublishError, SendCommand, SubmitCommand, TraceContext, code,
    transport,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

pub(crate) use children::Started;
pub use parallel::LabelledCommand;
pub(crate) use parallel::News;

use crate::record::{CompensationStep, Signal, WorkflowRecord};

/// Which function of a state runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Enter,
    State,
    Exit,
}

/// What a run of a state has, whatever the agent's own state is.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) client: Client,
    pub(crate) instance: Arc<str>,
    pub(crate) record: Arc<WorkflowRecord>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) trace: TraceContext,
    pub(crate) part: Part,
    pub(crate) started: Started,
    pub(crate) news: News,
}

impl Scope {
    pub(crate) fn part(&self, part: Part) -> Self {
        Self {
            part,
            ..self.clone()
        }
    }

    pub(crate) fn with<S>(self, agent: &Arc<S>) -> WorkflowContext<S> {
        WorkflowContext {
            agent: Arc::clone(agent),
            calls: Arc::default(),
            label: None,
            scope: Arc::new(self),
        }
    }
}

/// What a state sees of its workflow. Cheap to clone.
///
/// A state may run again: after a failure, and when its engine died before its result was written. What it does through
/// this context then has the same effect once: commands carry an idempotency key that is derived from the workflow, the
/// entry into the state, and the number of the call (or a label). So a state must make its calls in the same order each
/// time, or label them.
pub struct WorkflowContext<S = ()> {
    scope: Arc<Scope>,
    agent: Arc<S>,
    calls: Arc<AtomicU32>,
    label: Option<Arc<str>>,
}

impl<S> WorkflowContext<S> {
    /// The state that the agent's handlers share.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.agent
    }

    /// The workflow's id.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        self.scope.record.id.as_str()
    }

    /// The definition's name.
    #[must_use]
    pub fn definition(&self) -> &str {
        self.scope.record.definition.as_str()
    }

    /// The version of the definition.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.scope.record.version
    }

    /// The state that runs, or that is being undone.
    #[must_use]
    pub fn current_state(&self) -> &str {
        let record = &self.scope.record;
        let undone = record.compensates().map(|step| &step.state);
        undone.unwrap_or(&record.state).as_str()
    }

    /// In a compensation: what is being undone, with the entry whose keys its commands had.
    #[must_use]
    pub fn compensates(&self) -> Option<&CompensationStep> {
        self.scope.record.compensates()
    }

    /// Counts the entries into states; the same over the retries of one.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.scope.record.entry
    }

    /// 1 for the first attempt of this entry.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.scope.record.attempt
    }

    /// The signal that led here or woke this state.
    #[must_use]
    pub fn signal(&self) -> Option<&Signal> {
        self.scope.record.received.as_ref()
    }

    /// Whether the end of a wait led here or woke this state.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.scope.record.timed_out
    }

    /// The last error: of the attempt before, or of the state that led to this error state.
    #[must_use]
    pub fn error(&self) -> Option<&McpError> {
        self.scope.record.error.as_ref()
    }

    /// The conversation that the workflow belongs to.
    #[must_use]
    pub fn conversation_id(&self) -> Option<&str> {
        self.scope.record.conversation_id.as_deref()
    }

    /// The agent that runs this state.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.scope.client.name().as_str()
    }

    /// Its instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.scope.instance
    }

    /// The workflow's data.
    ///
    /// # Errors
    /// PERMANENT `INVALID_PARAMETERS` when they have another shape; the error names the field.
    pub fn data<D: DeserializeOwned>(&self) -> Result<D, McpError> {
        self.scope.record.data().map_err(|error| {
            McpError::permanent(code::INVALID_PARAMETERS)
                .message(format!("the workflow's data cannot be read: {error}"))
                .detail("field", error.field().unwrap_or_default())
        })
    }

    /// Waits until the work is to stop: this engine has lost the workflow, or its agent's grace is over.
    pub async fn cancelled(&self) {
        self.scope.cancelled.cancelled().await;
    }

    /// Whether the work is to stop; for loops that cannot await.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.scope.cancelled.is_cancelled()
    }

    /// The same context for one labelled effect, whose key then does not depend on the order of the calls. A label
    /// must be used once in a run.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        // Numbers and hooks have names of their own, which a label must not take.
        let taken = label.bytes().all(|byte| byte.is_ascii_digit())
            || label.starts_with("enter.")
            || label.starts_with("exit.");
        let label = match taken {
            true => format!("label-{label}"),
            false => label.to_owned(),
        };
        Self {
            label: Some(label.into()),
            ..self.clone()
        }
    }

    /// Sends a command and waits for its result; done again, it gets the same result without being executed again.
    pub fn send_command<R>(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SendCommand<R> {
        let command = self.scope.client.send_command(target, action, parameters);
        let command = command.idempotency_key(self.next_key()).trace(self.trace());
        match self.conversation_id() {
            Some(conversation) => command.conversation(conversation),
            None => command,
        }
    }

    /// Calls a typed action; otherwise as [`WorkflowContext::send_command`].
    pub fn call<P: Serialize, R>(&self, action: Action<P, R>, parameters: &P) -> SendCommand<R> {
        self.send_command(action.agent(), action.name(), parameters)
    }

    /// Hands a command over, once however often the state runs.
    pub fn submit_command(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SubmitCommand {
        let command = self.scope.client.submit_command(target, action, parameters);
        let command = command.idempotency_key(self.next_key()).trace(self.trace());
        match self.conversation_id() {
            Some(conversation) => command.conversation(conversation),
            None => command,
        }
    }

    /// Publishes an event under the agent's name, once however often the state runs (within the stream's
    /// deduplication window).
    ///
    /// # Errors
    /// When the name or the data is not valid or the server does not store.
    pub async fn publish(&self, event: &str, data: impl Serialize) -> Result<(), PublishError> {
        let mut event = self.scope.client.event(event, data)?;
        event
            .conversation_id
            .clone_from(&self.scope.record.conversation_id);
        let message_id = format!("{}.{}", self.next_key(), event.name);
        transport::publish_event(&self.scope.client, &event, &message_id, &self.scope.trace).await
    }

    /// The agent's connection, for what the context does not cover. What is sent through it has no derived key.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.scope.client
    }

    fn trace(&self) -> TraceContext {
        self.scope.trace.clone()
    }

    fn next_label(&self) -> String {
        match &self.label {
            Some(label) => label.to_string(),
            None => self.calls.fetch_add(1, Ordering::Relaxed).to_string(),
        }
    }

    /// `<workflow-id>.<entry>.<label>`; the label is the call's number where the author gave none.
    fn next_key(&self) -> String {
        let record = &self.scope.record;
        let part = match self.scope.part {
            Part::State => "",
            Part::Enter => "enter.",
            Part::Exit => "exit.",
        };
        let label = self.next_label();
        format!("{}.{}.{part}{label}", record.id, record.entry)
    }
}

impl<S> Clone for WorkflowContext<S> {
    fn clone(&self) -> Self {
        Self {
            scope: Arc::clone(&self.scope),
            agent: Arc::clone(&self.agent),
            calls: Arc::clone(&self.calls),
            label: self.label.clone(),
        }
    }
}

impl<S> std::fmt::Debug for WorkflowContext<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowContext")
            .field("workflow_id", &self.workflow_id())
            .field("state", &self.current_state())
            .field("entry", &self.entry())
            .finish_non_exhaustive()
    }
}
