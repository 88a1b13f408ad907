//! Commands that are handed over: done with once stored, retried by the runtime, their outcome kept.

use std::{collections::HashSet, future::IntoFuture, pin::Pin, time::Duration};

use futures_util::{StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use crate::{
    batch,
    client::Client,
    error::SendError,
    history::{Direction, Note, PastKind},
    message::{Command, McpError, Name, Priority, Raw, RetryPolicy},
    outcome::{Found, OutcomeRecord, OutcomeState, Outcomes, record_key},
    persistence::{Envelope, MessageKind, Outbox},
    presence,
    resilience::{Checked, RetryConfig},
    script,
    send::{LONGEST_PUBLISH, LONGEST_WAIT, compose, millis, outgoing, store_error},
    store::{self, Outgoing, StoreError},
    telemetry::{self, Publishing},
    trace::TraceContext,
};

/// Commands of one `submit_many` under way at once: more gain nothing.
const AT_ONCE: usize = 1_024;

/// Between two looks for an outcome: quick at first, then every second.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A command about to be handed over; await it to learn that it is stored.
///
/// Made by [`Client::submit_command`].
#[must_use = "nothing is submitted before this is awaited"]
pub struct SubmitCommand {
    client: Client,
    command: Result<Box<Command>, SendError>,
    retry: RetryConfig,
    timeout: Duration,
    trace: TraceContext,
}

impl SubmitCommand {
    pub(crate) fn new(
        client: Client,
        target: &str,
        action: &str,
        parameters: &impl Serialize,
    ) -> Self {
        Self {
            timeout: client.default_timeout(),
            command: compose(&client, target, action, parameters).map(Box::new),
            client,
            retry: RetryConfig::default(),
            trace: TraceContext::default(),
        }
    }

    /// How the runtime retries temporary errors (default: 3 times); after that the command is a dead letter.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Lets the command take effect once, however often it is sent. 1 to 256 bytes.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        let key = key.into();
        match (&mut self.command, (1..=256).contains(&key.len())) {
            (Ok(command), true) => command.idempotency_key = Some(key),
            (Ok(_), false) => {
                self.command = Err(SendError::Invalid {
                    reason: "an idempotency key has 1 to 256 bytes".to_owned(),
                });
            }
            (Err(_), _) => {}
        }
        self
    }

    /// The lane (default normal).
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|command| command.priority = priority)
    }

    /// How long the command is worth doing, counted from when it is stored (default: for ever).
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|command| command.ttl_ms = Some(millis(ttl)))
    }

    /// The conversation that the command belongs to.
    pub fn conversation(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.with(|command| command.conversation_id = Some(id))
    }

    /// The message that caused this command.
    pub fn caused_by(self, message_id: impl Into<String>) -> Self {
        let id = message_id.into();
        self.with(|command| command.causation_id = Some(id))
    }

    /// The trace that the command continues.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }

    /// How long storing may take (default: the client's time-out).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        if let Ok(command) = &mut self.command {
            change(command);
        }
        self
    }

    async fn submit(mut self) -> Result<Submitted, SendError> {
        let span = match &self.command {
            Ok(command) => telemetry::submitting(command, &mut self.trace),
            Err(_) => Span::none(),
        };
        let handed_over = self.hand_over().instrument(span.clone()).await;
        telemetry::submitted(&span, &handed_over);
        handed_over
    }

    async fn hand_over(self) -> Result<Submitted, SendError> {
        let Self {
            client,
            command,
            retry,
            timeout,
            trace,
        } = self;
        let mut command = command?;
        let retry = Checked::new(retry).map_err(|error| SendError::Invalid {
            reason: error.to_string(),
        })?;
        command.retry = Some(RetryPolicy {
            max_retries: retry.max_retries,
            base_delay_ms: millis(retry.base_delay),
            max_delay_ms: millis(retry.max_delay),
            jitter: retry.jitter,
        });
        if let Some(script) = client.script().cloned() {
            let reply = Box::pin(script::reply(&script, &command)).await;
            return Ok(Submitted::of(*command, client, reply.into_outcome()));
        }
        let subject =
            client
                .namespace()
                .command(&command.target, command.priority, &command.action);
        let publishing = Publishing::command(&client, &subject, &command, true, &trace);
        let trace = publishing.headers_of(&trace);
        let outgoing = outgoing(&client, subject, &command, &trace).await?;
        publishing.sends(&outgoing);
        let deadline = Instant::now() + timeout.min(LONGEST_PUBLISH);
        let spools = client
            .durability()
            .spools(MessageKind::Command, command.priority);
        let storing = async {
            let (publishing, outgoing) = (publishing, outgoing);
            match client.outbox().filter(|_| spools) {
                Some(outbox) => {
                    store_or_spool(
                        &client,
                        outbox,
                        &command.id,
                        &outgoing,
                        publishing,
                        deadline,
                    )
                    .await
                }
                None => {
                    let target = client.target(&command.target);
                    let stored =
                        batch::store(&client, &target, command.priority, outgoing, deadline).await;
                    publishing.stored(&stored);
                    stored.map(drop).map_err(store_error)
                }
            }
        };
        let began = Instant::now();
        let stored = storing.await;
        client.note(Note {
            direction: Direction::Sent,
            kind: PastKind::Submit,
            peer: &command.target,
            name: &command.action,
            id: &command.id,
            attempt: 1,
            error: stored.as_ref().err().map(SendError::code),
            took: began.elapsed(),
        });
        stored?;
        Ok(Submitted::of(*command, client, None))
    }
}

/// The outbox is for a server that is away, not for one that refuses. Should a publish that got no answer
/// have been stored after all, its message id tells the second from it.
async fn store_or_spool(
    client: &Client,
    outbox: &Outbox,
    id: &str,
    outgoing: &Outgoing,
    publishing: Publishing,
    deadline: Instant,
) -> Result<(), SendError> {
    if client.is_connected() {
        match store::store(client, outgoing, deadline).await {
            Err(StoreError::Unavailable { reason }) => {
                tracing::debug!(reason, "spooling a command")
            }
            stored => {
                publishing.stored(&stored);
                return stored.map(drop).map_err(store_error);
            }
        }
    }
    let spooled = outbox.spool(Envelope::of_outgoing(id, outgoing)).await;
    match spooled.is_ok() {
        true => publishing.spooled(),
        false => publishing.refused(),
    }
    spooled.map(drop).map_err(|error| SendError::Transport {
        reason: error.to_string(),
    })
}

impl IntoFuture for SubmitCommand {
    type Output = Result<Submitted, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.submit())
    }
}

/// Hands many commands over at once: as many under way as are useful, in packs where the targets have room.
pub(crate) async fn submit_many(
    client: &Client,
    commands: impl IntoIterator<Item = SubmitCommand>,
) -> Vec<Result<Submitted, SendError>> {
    let mut known = HashSet::new();
    let mut submitting = Vec::new();
    for command in commands {
        if let Ok(command) = &command.command
            && known.insert(command.target.clone())
        {
            learn_room(client, &command.target).await;
        }
        submitting.push(command.into_future());
    }
    stream::iter(submitting).buffered(AT_ONCE).collect().await
}

/// Whoever only submits gets no replies, which tell others how much room a target has.
async fn learn_room(client: &Client, name: &Name) {
    let target = client.target(name);
    if target.appetite.limit(Instant::now()) > 1 || !client.packs() {
        return;
    }
    let found = presence::read_presence(client, Some(name)).await;
    // Without it they travel alone.
    let loads = found.unwrap_or_default().into_iter();
    let roomiest = loads
        .map(|found| found.record.load)
        .max_by_key(|load| load.capacity.saturating_sub(load.in_flight));
    if let Some(load) = roomiest {
        target.appetite.observe_load(&load, Instant::now());
    }
}

/// A command that is stored and will be done.
#[derive(Debug, Clone)]
pub struct Submitted {
    client: Client,
    target: Name,
    action: Name,
    id: String,
    key: String,
    /// By a script, in a test without a server.
    scripted: Option<Result<Raw, McpError>>,
}

impl Submitted {
    fn of(command: Command, client: Client, scripted: Option<Result<Raw, McpError>>) -> Self {
        let Command {
            id,
            target,
            action,
            idempotency_key,
            ..
        } = command;
        Self {
            key: idempotency_key.unwrap_or_else(|| id.clone()),
            client,
            target,
            action,
            id,
            scripted,
        }
    }

    /// The command's message id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its outcome is kept under: the idempotency key, or the message id where there is none.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Waits for the result, at most `timeout`.
    ///
    /// # Errors
    /// When the command ended with an error, or has not ended in time.
    pub async fn outcome<R: DeserializeOwned>(&self, timeout: Duration) -> Result<R, SendError> {
        if let Some(outcome) = self.scripted.clone() {
            return self.read(outcome);
        }
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let mut pause = FIRST_LOOK;
        loop {
            let record = find(&self.client, &self.target, &self.action, &self.key).await?;
            if let Some(outcome) = record
                .and_then(|record| record.response)
                .and_then(crate::Reply::into_outcome)
            {
                return self.read(outcome);
            }
            if Instant::now() + pause >= deadline {
                return Err(SendError::Timeout {
                    target: self.target.to_string(),
                    action: self.action.to_string(),
                    timeout,
                    queued: true,
                    attempts: 1,
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    fn read<R: DeserializeOwned>(&self, outcome: Result<Raw, McpError>) -> Result<R, SendError> {
        let (target, action) = (self.target.to_string(), self.action.to_string());
        match outcome {
            Ok(result) => result
                .decode()
                .map_err(|source| SendError::UnexpectedResult {
                    target,
                    action,
                    source,
                }),
            Err(error) => Err(SendError::Answered {
                target,
                action,
                error: Box::new(error),
                attempts: 1,
            }),
        }
    }
}

/// The outcome record of a key, or of a submitted command's id; `None` while nobody has begun with it.
///
/// A key that was released after a temporary error shows that error for a minute.
pub(crate) async fn find(
    client: &Client,
    agent: &Name,
    action: &Name,
    key: &str,
) -> Result<Option<OutcomeRecord>, SendError> {
    let found = Outcomes::look(client, &record_key(agent, action, key)).await;
    let Found { record, .. } = found.map_err(|error| SendError::Transport {
        reason: error.to_string(),
    })?;
    Ok(record)
}

impl OutcomeRecord {
    /// Whether the response stands.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == OutcomeState::Done
    }
}
