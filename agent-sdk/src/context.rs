//! What a handler sees of its command, and how it talks to others.

use std::{sync::Arc, time::Duration};

use mcp_runtime::{
    Client, EventDelivery, Invocation, Name, Priority, Progress, PublishError, SendCommand,
    SubmitCommand, Token, TraceContext,
};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use mcp_runtime::Action;

use crate::agents::Agents;

/// What a handler sees of the command or event it handles. Cheap to clone.
///
/// Commands and events that are sent through it stay in the same conversation and trace and name the
/// handled message as their cause.
///
/// `S` is the agent's state, see [`Agent::with_state`](crate::Agent::with_state).
pub struct Context<S = ()> {
    inner: Arc<Inner>,
    state: Arc<S>,
}

struct Inner {
    client: Client,
    instance: Token,
    sender: Name,
    message_id: String,
    conversation_id: Option<String>,
    priority: Priority,
    attempt: u32,
    delivery: u64,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
    trace: TraceContext,
    /// Missing in event handlers, which nobody waits for.
    invocation: Option<Invocation>,
}

impl<S> Context<S> {
    pub(crate) fn of_command(invocation: Invocation, state: Arc<S>) -> Self {
        let command = &invocation.command;
        let inner = Inner {
            client: invocation.client.clone(),
            instance: invocation.instance.clone(),
            sender: command.source.clone(),
            message_id: command.id.clone(),
            conversation_id: command.conversation_id.clone(),
            priority: command.priority,
            attempt: command.attempt,
            delivery: invocation.delivery,
            deadline: invocation.deadline,
            cancelled: invocation.cancelled.clone(),
            trace: invocation.trace.clone(),
            invocation: Some(invocation),
        };
        Self {
            inner: Arc::new(inner),
            state,
        }
    }

    pub(crate) fn of_event(
        delivery: &EventDelivery,
        client: Client,
        instance: Token,
        state: Arc<S>,
    ) -> Self {
        let event = &delivery.event;
        let inner = Inner {
            client,
            instance,
            sender: event.source.clone(),
            message_id: event.id.clone(),
            conversation_id: event.conversation_id.clone(),
            priority: event.priority.unwrap_or_default(),
            attempt: u32::try_from(delivery.delivery).unwrap_or(u32::MAX),
            delivery: delivery.delivery,
            deadline: None,
            cancelled: delivery.cancelled.clone(),
            trace: delivery.trace.clone(),
            invocation: None,
        };
        Self {
            inner: Arc::new(inner),
            state,
        }
    }

    /// The agent's state.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The agent that sent the message. A claim: where it matters, judge by the connection's rights.
    #[must_use]
    pub fn sender(&self) -> &str {
        self.inner.sender.as_str()
    }

    /// This agent's name.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.inner.client.name().as_str()
    }

    /// This instance's id.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.inner.instance.as_str()
    }

    /// The id of the message that is handled.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.inner.message_id
    }

    /// The conversation that the message belongs to.
    #[must_use]
    pub fn conversation_id(&self) -> Option<&str> {
        self.inner.conversation_id.as_deref()
    }

    /// The message's lane.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.inner.priority
    }

    /// 1 for the first attempt; counts those of requester or runtime, not redeliveries.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// 1 when the message is delivered for the first time; more after an instance died over it.
    #[must_use]
    pub fn delivery(&self) -> u64 {
        self.inner.delivery
    }

    /// When nobody will wait for the result any more; `None` when there is no such time.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// What is left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.inner
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until the work is to stop: the command was cancelled, its lease is lost, or the agent's
    /// grace is over. A handler that does not end within half a second of it is dropped at its next await.
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Whether the work is to stop; for loops and threads that cannot await.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// Tells whoever waits for the reply how far the work has come. Never fails: nobody may be waiting.
    pub async fn progress(&self, progress: Progress) {
        if let Some(invocation) = &self.inner.invocation {
            invocation.progress(progress).await;
        }
    }

    /// Sends a command and waits for its result; see [`Client::send_command`].
    pub fn send_command<R>(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SendCommand<R> {
        let command = self
            .inner
            .client
            .send_command(target, action, parameters)
            .caused_by(self.inner.message_id.as_str())
            .trace(self.inner.trace.clone());
        match &self.inner.conversation_id {
            Some(conversation) => command.conversation(conversation.as_str()),
            None => command,
        }
    }

    /// Hands a command over: done once it is stored; see [`Client::submit_command`].
    pub fn submit_command(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SubmitCommand {
        let command = self
            .inner
            .client
            .submit_command(target, action, parameters)
            .caused_by(self.inner.message_id.as_str())
            .trace(self.inner.trace.clone());
        match &self.inner.conversation_id {
            Some(conversation) => command.conversation(conversation.as_str()),
            None => command,
        }
    }

    /// The idempotency of the command that is handled; `None` when it has no key.
    #[must_use]
    pub fn idempotency(&self) -> Option<Idempotency<'_>> {
        let invocation = self.inner.invocation.as_ref()?;
        let key = invocation.command.idempotency_key.as_deref()?;
        Some(Idempotency {
            key,
            fence: invocation.fence?,
        })
    }

    /// Calls a typed action; otherwise as [`Context::send_command`].
    pub fn call<P: Serialize, R>(&self, action: Action<P, R>, parameters: &P) -> SendCommand<R> {
        self.send_command(action.agent(), action.name(), parameters)
    }

    /// Publishes an event under this agent's name; done when the server has stored it.
    ///
    /// # Errors
    /// When the name or the data is not valid or the server does not store.
    pub async fn publish(&self, event: &str, data: impl Serialize) -> Result<(), PublishError> {
        let mut event = self.inner.client.event(event, data)?;
        event
            .conversation_id
            .clone_from(&self.inner.conversation_id);
        event.causation_id = Some(self.inner.message_id.clone());
        self.inner
            .client
            .publish_event_in(&event, &self.inner.trace)
            .await
    }

    /// Which agents are there, read once or watched.
    pub fn agents(&self) -> Agents {
        Agents::of(&self.inner.client)
    }

    pub(crate) fn trace(&self) -> &TraceContext {
        &self.inner.trace
    }

    /// The agent's connection, for what the context does not cover. What is sent through it is in no
    /// conversation.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }
}

/// What a handler needs to take effect once, even in the gap that no message system can close: a death
/// between the effect and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idempotency<'a> {
    /// The command's key: what the effect should be stored under.
    pub key: &'a str,
    /// Grows with each execution of the same key: a store that remembers the highest it has seen can
    /// refuse an instance that was overtaken.
    pub fence: u64,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            state: Arc::clone(&self.state),
        }
    }
}

impl<S> std::fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("agent", &self.agent())
            .field("sender", &self.sender())
            .field("message_id", &self.message_id())
            .finish_non_exhaustive()
    }
}
