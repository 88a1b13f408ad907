//! The send path: the only place where the order of the steps of a send exists.
//!
//! retry -> [ is anyone there, where that is required -> expect the reply -> publish -> await acknowledgement and reply ]
//!
//! One attempt is in `send/attempt.rs`.

mod attempt;

use std::{future::IntoFuture, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use crate::{
    cancel::CancelOnDrop,
    client::Client,
    error::SendError,
    history::{Direction, Note, PastKind},
    message::{Command, DecodeError, McpError, Name, Priority, Progress, Raw, Recovery, Reply},
    persistence::{Durability, MessageKind},
    resilience::{Advice, Checked, Decision, RetryConfig, RetryState},
    targets::Sending,
    telemetry,
    trace::TraceContext,
};

use attempt::{Attempt, Expectation};

pub(crate) use attempt::{LONGEST_PUBLISH, outgoing, store_error};

type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;
type Fallback<R> =
    Box<dyn FnOnce(McpError) -> Pin<Box<dyn Future<Output = Result<R, McpError>> + Send>> + Send>;

/// A command about to be sent; await it for the result.
///
/// Made by [`Client::send_command`]. Dropping the future stops the waiting, not the command.
#[must_use = "nothing is sent before this is awaited"]
pub struct SendCommand<R> {
    client: Client,
    command: Result<Box<Command>, SendError>,
    timeout: Duration,
    ttl: Ttl,
    realtime: bool,
    on_progress: Option<OnProgress>,
    trace: TraceContext,
    retry: RetryConfig,
    attempt_timeout: Option<Duration>,
    cancel_on_drop: bool,
    require_online: bool,
    fallback: Option<Fallback<R>>,
    result: PhantomData<fn() -> R>,
}

enum Ttl {
    AsTimeout,
    Unlimited,
    Of(Duration),
}

impl<R> SendCommand<R> {
    pub(crate) fn new(
        client: Client,
        target: &str,
        action: &str,
        parameters: &impl Serialize,
    ) -> Self {
        let command = compose(&client, target, action, parameters).map(Box::new);
        Self {
            timeout: client.default_timeout(),
            client,
            command,
            ttl: Ttl::AsTimeout,
            realtime: false,
            on_progress: None,
            trace: TraceContext::default(),
            // One attempt: whoever wants more says so.
            retry: RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            },
            attempt_timeout: None,
            cancel_on_drop: false,
            require_online: false,
            fallback: None,
            result: PhantomData,
        }
    }

    /// How long to wait for the result (default: that of the client's configuration, 30 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the command is worth doing, counted from when it is stored (default: the timeout).
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Ttl::Of(ttl);
        self
    }

    /// Lets the command wait in its queue for ever.
    pub fn without_ttl(mut self) -> Self {
        self.ttl = Ttl::Unlimited;
        self
    }

    /// The lane (default normal).
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|command| command.priority = priority)
    }

    /// Sends over core NATS: faster, stored nowhere, lost when no instance listens now.
    pub fn realtime(mut self) -> Self {
        self.realtime = true;
        self
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

    /// Calls `observer` with each progress frame; it must not block.
    pub fn on_progress(mut self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(observer));
        self
    }

    /// Retries temporary errors, at the distance that `retry` and the target's advice say and within the
    /// timeout (default: not at all).
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt waits for its reply (default: all of the timeout). A stored command that got
    /// no reply is sent again only with an idempotency key: it is queued.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Lets the command take effect once, however often it is sent: everyone who sends the same key to
    /// the same action gets the same answer. 1 to 256 bytes.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        let key = key.into();
        let valid = (1..=256).contains(&key.len());
        let mut this = self.with(|command| command.idempotency_key = Some(key));
        if !valid && this.command.is_ok() {
            this.command = Err(SendError::Invalid {
                reason: "an idempotency key has 1 to 256 bytes".to_owned(),
            });
        }
        this
    }

    /// Cancels the command when this future is dropped, or given up, before the reply is here.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }

    /// Fails with `NO_INSTANCE`, before anything is published, when no instance of the target is alive (default: the command
    /// waits for one in its queue). It costs one more round trip, and an instance that has died counts as alive until its
    /// presence record expires, after about 15 s.
    pub fn require_online(mut self) -> Self {
        self.require_online = true;
        self
    }

    /// Calls `fallback` for the result when the target's last word is an error that advises FALLBACK.
    pub fn fallback<F, Fut>(mut self, fallback: F) -> Self
    where
        F: FnOnce(McpError) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, McpError>> + Send + 'static,
    {
        self.fallback = Some(Box::new(|error| Box::pin(fallback(error))));
        self
    }

    /// The message id that the command will travel under; `None` when it is not valid.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.command
            .as_ref()
            .ok()
            .map(|command| command.id.as_str())
    }

    fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        if let Ok(command) = &mut self.command {
            change(command);
        }
        self
    }

    /// Sends the command and waits for the whole reply frame, the last one after retries.
    ///
    /// # Errors
    /// When the command cannot be sent or no reply comes in time. An error that the target answers is
    /// part of the frame.
    pub async fn reply(self) -> Result<Reply, SendError> {
        self.attempts().await.0
    }

    /// All attempts, in one span; tells how many there were.
    async fn attempts(mut self) -> (Result<Reply, SendError>, u32) {
        let span = match &self.command {
            Ok(command) => telemetry::sending(command, &mut self.trace),
            Err(_) => Span::none(),
        };
        let ended = self.until_settled().instrument(span.clone()).await;
        telemetry::sent(&span, &ended.0);
        ended
    }

    /// Makes attempts until one succeeds or no other is allowed.
    async fn until_settled(self) -> (Result<Reply, SendError>, u32) {
        let mut command = match self.command {
            Ok(command) => command,
            Err(error) => return (Err(error), 0),
        };
        let retry = match Checked::new(self.retry) {
            Ok(retry) => retry,
            Err(error) => {
                return (
                    Err(SendError::Invalid {
                        reason: error.to_string(),
                    }),
                    0,
                );
            }
        };
        let asked = Instant::now();
        let deadline = asked + self.timeout.min(LONGEST_WAIT);
        let mut retry = RetryState::new(retry, Some(deadline.into_std()));
        let target = self.client.target(&command.target);
        let cancel = self
            .cancel_on_drop
            .then(|| CancelOnDrop::new(&self.client, &command));
        let kind = match self.realtime {
            true => MessageKind::RealtimeCommand,
            false => MessageKind::Command,
        };
        let realtime =
            self.client.durability().durability(kind, command.priority) == Durability::Transient;
        let expectation = Expectation {
            realtime,
            on_progress: self.on_progress,
        };
        let priority = command.priority;
        let mut not_instance = None;
        let mut new_message = true;
        // A policy's refusal is not what the caller should learn last about a target that has answered.
        let mut last_real = None;
        let outcome = loop {
            let began = Instant::now();
            let attempt_timeout = self.attempt_timeout.unwrap_or(self.timeout);
            let attempt_deadline = deadline.min(began + attempt_timeout.min(LONGEST_WAIT));
            if new_message {
                command.ttl_ms = match self.ttl {
                    // What is left: a retry is worth no more than the wait for it.
                    Ttl::AsTimeout => Some(millis(deadline - began)),
                    Ttl::Of(ttl) => Some(millis(ttl)),
                    Ttl::Unlimited => None,
                };
            }
            let attempt = Attempt {
                client: &self.client,
                target: &target,
                command: &mut command,
                deadline: attempt_deadline,
                timeout: self.timeout,
                trace: &self.trace,
                not_instance: not_instance.as_deref(),
            };
            let sending = Sending {
                source: self.client.name().clone(),
                action: attempt.command.action.clone(),
                priority,
            };
            // Before the policies: a target that is not there has neither failed nor been sent anything.
            let online = match self.require_online {
                true => attempt.require_online().await,
                false => Ok(()),
            };
            let admitted = match online {
                Ok(()) => target.admit(sending, attempt_deadline).await,
                Err(error) => Err(error),
            };
            let outcome = match admitted {
                Ok(pass) => {
                    // Boxed: most of a send's size is one attempt.
                    let outcome = Box::pin(attempt.make(&expectation)).await;
                    pass.record(&outcome);
                    outcome
                }
                Err(refusal) => Err(refusal),
            };
            let Some(failure) = Failure::of(&outcome, command.idempotency_key.is_some()) else {
                target.budget.succeed();
                break outcome;
            };
            let is_settled = matches!(
                outcome,
                Ok(_) | Err(SendError::Timeout { queued: true, .. })
            );
            match retry.after_failure(failure.advice, &target.budget, Instant::now().into_std()) {
                Decision::RetryAfter(delay) => {
                    tracing::debug!(target = %command.target, action = %command.action, attempt = command.attempt, ?delay, "send failed, retrying");
                    let (agent, action) = (command.target.as_str(), command.action.as_str());
                    telemetry::retried(agent, action, "requester");
                    not_instance = failure.not_instance;
                    if !is_refusal(&outcome) {
                        last_real = Some(outcome);
                    }
                    // What may be stored without our knowing is sent again as the same message, which the
                    // stream recognises; a new one would be a second execution.
                    new_message = is_settled;
                    command.attempt += u32::from(new_message);
                    sleep(delay).await;
                }
                Decision::Stop(_) => break real(outcome, last_real),
            }
        };
        if let (Some(cancel), Ok(_)) = (cancel, &outcome) {
            cancel.disarm();
        }
        let attempts = retry.attempts();
        self.client.note(Note {
            direction: Direction::Sent,
            kind: PastKind::Command,
            peer: &command.target,
            name: &command.action,
            id: &command.id,
            attempt: attempts,
            error: code_of(&outcome),
            took: asked.elapsed(),
        });
        (outcome.map_err(|error| error.after(attempts)), attempts)
    }
}

fn code_of(outcome: &Result<Reply, SendError>) -> Option<String> {
    match outcome {
        Ok(reply) => reply.error.as_ref().map(|error| error.code.clone()),
        Err(error) => Some(error.code()),
    }
}

fn is_refusal(outcome: &Result<Reply, SendError>) -> bool {
    matches!(
        outcome,
        Err(SendError::CircuitOpen { .. } | SendError::RateLimited { .. })
    )
}

/// The last real answer or failure, with the policy that ended the retries named beside it.
fn real(
    outcome: Result<Reply, SendError>,
    last_real: Option<Result<Reply, SendError>>,
) -> Result<Reply, SendError> {
    let (true, Err(refusal), Some(mut last_real)) = (is_refusal(&outcome), &outcome, last_real)
    else {
        return outcome;
    };
    if let Ok(Reply {
        error: Some(error), ..
    }) = &mut last_real
    {
        error
            .details
            .insert("refused".to_owned(), refusal.code().into());
    }
    last_real
}

/// What a failed attempt says about the next.
struct Failure {
    advice: Advice,
    not_instance: Option<String>,
}

impl Failure {
    /// `None` for a success.
    fn of(outcome: &Result<Reply, SendError>, has_key: bool) -> Option<Self> {
        match outcome {
            Ok(reply) => {
                let error = reply.error.as_ref()?;
                let elsewhere = error.recovery == Recovery::RetryElsewhere;
                Some(Self {
                    advice: error.into(),
                    not_instance: elsewhere.then(|| reply.instance.clone()),
                })
            }
            // It is queued: a second one would be a second execution.
            Err(SendError::Timeout { queued: true, .. }) if !has_key => Some(Self {
                advice: Advice::PERMANENT,
                not_instance: None,
            }),
            Err(error) => Some(Self {
                advice: (&error.to_mcp_error()).into(),
                not_instance: None,
            }),
        }
    }
}

impl From<&McpError> for Advice {
    fn from(error: &McpError) -> Self {
        Self {
            temporary: error.is_temporary(),
            max_retries: error.max_retries,
            retry_delay: error.retry_delay,
        }
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for SendCommand<R> {
    type Output = Result<R, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let (target, action) = match &self.command {
                Ok(command) => (command.target.to_string(), command.action.to_string()),
                Err(_) => Default::default(),
            };
            let fallback = self.fallback.take();
            let (reply, attempts) = self.attempts().await;
            let error = match reply?.into_outcome() {
                Some(Ok(result)) => {
                    return result
                        .decode()
                        .map_err(|source| SendError::UnexpectedResult {
                            target,
                            action,
                            source,
                        });
                }
                Some(Err(error)) => error,
                None => {
                    let source = DecodeError::new("the response carries neither result nor error");
                    return Err(SendError::UnexpectedResult {
                        target,
                        action,
                        source,
                    });
                }
            };
            let error = match fallback {
                Some(fallback) if error.recovery == Recovery::Fallback => {
                    match fallback(error).await {
                        Ok(result) => return Ok(result),
                        Err(error) => error,
                    }
                }
                _ => error,
            };
            Err(SendError::Answered {
                target,
                action,
                error: Box::new(error),
                attempts,
            })
        })
    }
}

pub(crate) fn compose(
    client: &Client,
    target: &str,
    action: &str,
    parameters: &impl Serialize,
) -> Result<Command, SendError> {
    let invalid = |reason: String| SendError::Invalid { reason };
    let target = Name::new(target).map_err(|error| invalid(error.to_string()))?;
    let action = Name::new(action).map_err(|error| invalid(error.to_string()))?;
    let parameters = Raw::encode(parameters).map_err(|error| invalid(error.to_string()))?;
    Ok(Command::new(
        client.name().clone(),
        target,
        action,
        parameters,
    ))
}

/// A longer time-out is for ever to whoever waits, and more than a clock can be set to.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
