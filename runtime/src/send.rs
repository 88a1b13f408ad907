//! The send path: the only place where the order of the steps of a send exists.
//!
//! encode -> expect the reply -> publish -> await acknowledgement and reply -> decode

use std::{
    future::IntoFuture,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_nats::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    client::Client,
    error::SendError,
    message::{Command, Format, Name, Priority, Progress, Raw, Reply},
    replies::{Answer, Expected},
    store::{self, Outgoing, StoreError},
    trace::TraceContext,
};

/// Publishing again is recognised as such only within the stream's deduplication window (2 min).
const LONGEST_PUBLISH: Duration = Duration::from_secs(90);

type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

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
    result: PhantomData<fn() -> R>,
}

enum Ttl {
    AsTimeout,
    Unlimited,
    Of(Duration),
}

impl<R> SendCommand<R> {
    pub(crate) fn new(client: Client, target: &str, action: &str, parameters: &impl Serialize) -> Self {
        let command = compose(&client, target, action, parameters).map(Box::new);
        Self {
            timeout: client.default_timeout(),
            client,
            command,
            ttl: Ttl::AsTimeout,
            realtime: false,
            on_progress: None,
            trace: TraceContext::default(),
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

    /// The message id that the command will travel under; `None` when it is not valid.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.command.as_ref().ok().map(|command| command.id.as_str())
    }

    fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        if let Ok(command) = &mut self.command {
            change(command);
        }
        self
    }

    /// Sends the command and waits for the whole reply frame.
    ///
    /// # Errors
    /// When the command cannot be sent or no reply comes in time. An error that the target answers is
    /// part of the frame.
    pub async fn reply(self) -> Result<Reply, SendError> {
        let deadline = Instant::now() + self.timeout;
        let mut command = self.command?;
        command.ttl_ms = match self.ttl {
            Ttl::AsTimeout => Some(millis(self.timeout)),
            Ttl::Of(ttl) => Some(millis(ttl)),
            Ttl::Unlimited => None,
        };
        command.reply_to =
            Some(self.client.namespace().reply(self.client.requester().as_str(), &command.id));
        let attempt = Attempt {
            client: &self.client,
            command: &command,
            deadline,
            timeout: self.timeout,
            trace: &self.trace,
        };
        let expected = self.client.replies().expect(&command.id, self.on_progress.is_some());
        match self.realtime {
            true => attempt.realtime(expected, self.on_progress).await,
            false => attempt.durable(expected, self.on_progress).await,
        }
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for SendCommand<R> {
    type Output = Result<R, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (target, action) = match &self.command {
                Ok(command) => (command.target.to_string(), command.action.to_string()),
                Err(_) => Default::default(),
            };
            let outcome = self.reply().await?.into_outcome();
            match outcome {
                Some(Ok(result)) => {
                    result.decode().map_err(|source| SendError::UnexpectedResult { target, action, source })
                }
                Some(Err(error)) => Err(SendError::Answered { target, action, error: Box::new(error) }),
                None => Err(SendError::UnexpectedResult {
                    target,
                    action,
                    source: crate::message::DecodeError::new("the response carries neither result nor error"),
                }),
            }
        })
    }
}

fn compose(client: &Client, target: &str, action: &str, parameters: &impl Serialize) -> Result<Command, SendError> {
    let invalid = |reason: String| SendError::Invalid { reason };
    let target = Name::new(target).map_err(|error| invalid(error.to_string()))?;
    let action = Name::new(action).map_err(|error| invalid(error.to_string()))?;
    let parameters = Raw::encode(parameters).map_err(|error| invalid(error.to_string()))?;
    Ok(Command::new(client.name().clone(), target, action, parameters))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One publish and the wait for what comes of it.
struct Attempt<'a> {
    client: &'a Client,
    command: &'a Command,
    deadline: Instant,
    timeout: Duration,
    trace: &'a TraceContext,
}

impl Attempt<'_> {
    async fn durable(&self, mut expected: Expected, on_progress: Option<OnProgress>) -> Result<Reply, SendError> {
        let command = self.command;
        let subject = self.client.namespace().command(&command.target, command.priority, &command.action);
        let outgoing = self.outgoing(subject)?;
        let publish_by = self.deadline.min(Instant::now() + LONGEST_PUBLISH);
        let storing = store::store(self.client.nats(), &outgoing, publish_by);
        tokio::pin!(storing);
        let mut stored = false;
        loop {
            tokio::select! {
                // In this order: all progress is reported before the response ends the wait.
                biased;
                progress = next_progress(&mut expected.progress) => report(progress, &on_progress),
                answer = &mut expected.response => return self.read(answer),
                // The reply may overtake the acknowledgement, which is then of no interest.
                outcome = &mut storing, if !stored => {
                    outcome.map_err(store_error)?;
                    stored = true;
                }
                () = sleep_until(self.deadline) => return Err(self.timed_out(stored)),
            }
        }
    }

    async fn realtime(&self, mut expected: Expected, on_progress: Option<OnProgress>) -> Result<Reply, SendError> {
        let command = self.command;
        let subject = self.client.namespace().realtime(&command.target, &command.action);
        let outgoing = self.outgoing(subject)?;
        let reply_to = command.reply_to.clone().expect("every sent command names its reply subject");
        // As the message's own reply subject it also lets the server say that nobody listens.
        let publishing =
            self.client.nats().publish_with_reply_and_headers(outgoing.subject, reply_to, outgoing.headers, outgoing.body);
        match tokio::time::timeout_at(self.deadline, publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(SendError::Transport { reason: error.to_string() }),
            Err(_) => return Err(self.timed_out(false)),
        }
        loop {
            tokio::select! {
                // In this order: all progress is reported before the response ends the wait.
                biased;
                progress = next_progress(&mut expected.progress) => report(progress, &on_progress),
                answer = &mut expected.response => return self.read(answer),
                () = sleep_until(self.deadline) => return Err(self.timed_out(false)),
            }
        }
    }

    fn outgoing(&self, subject: String) -> Result<Outgoing, SendError> {
        let body = Format::default()
            .encode(self.command)
            .map_err(|error| SendError::Invalid { reason: error.to_string() })?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{}.{}", self.command.id, self.command.attempt));
        headers.insert("Content-Type", Format::default().content_type());
        self.trace.inject(&mut headers);
        Ok(Outgoing { subject, headers, body })
    }

    fn read(&self, answer: Result<Answer, tokio::sync::oneshot::error::RecvError>) -> Result<Reply, SendError> {
        match answer {
            Ok(Answer::Response(reply)) => Ok(*reply),
            Ok(Answer::NobodyListens) => {
                Err(SendError::NobodyListens { target: self.command.target.to_string() })
            }
            Err(_) => Err(SendError::Transport { reason: "the connection is closed".to_owned() }),
        }
    }

    fn timed_out(&self, queued: bool) -> SendError {
        SendError::Timeout {
            target: self.command.target.to_string(),
            action: self.command.action.to_string(),
            timeout: self.timeout,
            queued,
        }
    }
}

/// Waits for ever where no progress is expected: one arm of a select that never fires.
async fn next_progress(frames: &mut Option<mpsc::Receiver<Progress>>) -> Progress {
    let frame = match frames {
        Some(frames) => frames.recv().await,
        None => None,
    };
    match frame {
        Some(progress) => progress,
        None => std::future::pending().await,
    }
}

fn report(progress: Progress, on_progress: &Option<OnProgress>) {
    if let Some(observer) = on_progress {
        observer(&progress);
    }
}

fn store_error(error: StoreError) -> SendError {
    match error {
        StoreError::TooLarge { size, limit } => SendError::TooLarge { size, limit },
        other => SendError::Transport { reason: other.to_string() },
    }
}
