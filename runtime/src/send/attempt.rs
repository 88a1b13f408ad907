//! One attempt of a send: publish, then wait for acknowledgement and reply.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    batch,
    client::Client,
    error::SendError,
    message::{Command, DecodeError, Format, Progress, Reply},
    payload::{self, PayloadError},
    presence,
    replies::{Answer, Expected},
    script,
    store::{Outgoing, StoreError},
    targets::Target,
    telemetry::Publishing,
    trace::TraceContext,
};

use super::OnProgress;

/// Publishing again is recognised as such only within the stream's deduplication window (2 min).
pub(crate) const LONGEST_PUBLISH: Duration = Duration::from_secs(90);

/// What the caller wants to see of an attempt, and how it travels.
pub(super) struct Expectation {
    pub(super) realtime: bool,
    pub(super) on_progress: Option<OnProgress>,
}

/// One publish and the wait for what comes of it.
pub(super) struct Attempt<'a> {
    pub(super) client: &'a Client,
    pub(super) target: &'a Arc<Target>,
    pub(super) command: &'a mut Command,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
    pub(super) trace: &'a TraceContext,
    /// The instance that is not to take it.
    pub(super) not_instance: Option<&'a str>,
}

impl Attempt<'_> {
    /// Fails when nobody is there to take the command.
    pub(super) async fn require_online(&self) -> Result<(), SendError> {
        // Whoever answers is there.
        if self.client.script().is_some() {
            return Ok(());
        }
        let looking = presence::is_anyone_alive(self.client, &self.command.target);
        match timeout_at(self.deadline, looking).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(SendError::NoInstance {
                target: self.command.target.to_string(),
            }),
            Ok(Err(error)) => Err(SendError::Transport {
                reason: error.to_string(),
            }),
            Err(_) => Err(self.timed_out(false)),
        }
    }

    pub(super) async fn make(self, expectation: &Expectation) -> Result<Reply, SendError> {
        if let Some(script) = self.client.script() {
            // Boxed: no other send is to carry it along.
            let scripted = Box::pin(script::reply(script, self.command));
            let reply = timeout_at(self.deadline, scripted).await;
            return reply.map_err(|_| self.timed_out(true));
        }
        let namespace = self.client.namespace();
        self.command.reply_to =
            Some(namespace.reply(self.client.requester().as_str(), &self.command.id));
        let expected = self
            .client
            .replies()
            .expect(&self.command.id, expectation.on_progress.is_some());
        match expectation.realtime {
            true => self.realtime(expected, &expectation.on_progress).await,
            false => self.durable(expected, &expectation.on_progress).await,
        }
    }

    async fn durable(
        &self,
        mut expected: Expected,
        on_progress: &Option<OnProgress>,
    ) -> Result<Reply, SendError> {
        let command = &*self.command;
        let subject =
            self.client
                .namespace()
                .command(&command.target, command.priority, &command.action);
        let publishing = Publishing::command(self.client, &subject, command, true, self.trace);
        let outgoing = self.outgoing(subject, &publishing).await?;
        let publish_by = self.deadline.min(Instant::now() + LONGEST_PUBLISH);
        let storing = batch::store(
            self.client,
            self.target,
            command.priority,
            outgoing,
            publish_by,
        );
        tokio::pin!(storing);
        // Gone as soon as the message is stored.
        let mut publishing = Some(publishing);
        loop {
            tokio::select! {
                // In this order: all progress is reported before the response ends the wait.
                biased;
                progress = next_progress(&mut expected.progress) => report(&progress, on_progress),
                answer = &mut expected.response => {
                    // The reply may overtake the acknowledgement, which is then of no interest.
                    publishing.take().into_iter().for_each(Publishing::proven);
                    return self.read(answer).await;
                }
                outcome = &mut storing, if publishing.is_some() => {
                    publishing.take().into_iter().for_each(|publishing| publishing.stored(&outcome));
                    outcome.map_err(store_error)?;
                }
                () = sleep_until(self.deadline) => return Err(self.timed_out(publishing.is_none())),
            }
        }
    }

    async fn realtime(
        &self,
        mut expected: Expected,
        on_progress: &Option<OnProgress>,
    ) -> Result<Reply, SendError> {
        let command = &*self.command;
        let subject = self
            .client
            .namespace()
            .realtime(&command.target, &command.action);
        let publishing = Publishing::command(self.client, &subject, command, false, self.trace);
        let outgoing = self.outgoing(subject, &publishing).await?;
        let reply_to = command
            .reply_to
            .clone()
            .expect("every sent command names its reply subject");
        let subject = outgoing.subject.clone();
        let mut denials = self.client.denials().listen();
        // As the message's own reply subject it also lets the server say that nobody listens.
        let leaving = self.client.nats().publish_with_reply_and_headers(
            outgoing.subject,
            reply_to,
            outgoing.headers,
            outgoing.body,
        );
        let left = timeout_at(self.deadline, leaving).await;
        publishing.left(matches!(left, Ok(Ok(()))));
        match left {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(SendError::Transport {
                    reason: error.to_string(),
                });
            }
            Err(_) => return Err(self.timed_out(false)),
        }
        loop {
            tokio::select! {
                // In this order: all progress is reported before the response ends the wait.
                biased;
                progress = next_progress(&mut expected.progress) => report(&progress, on_progress),
                answer = &mut expected.response => return self.read(answer).await,
                () = denials.refused(&subject) => return Err(SendError::PermissionDenied { subject }),
                () = sleep_until(self.deadline) => return Err(self.timed_out(false)),
            }
        }
    }

    async fn outgoing(
        &self,
        subject: String,
        publishing: &Publishing,
    ) -> Result<Outgoing, SendError> {
        let trace = publishing.headers_of(self.trace);
        let composing = outgoing(self.client, subject, self.command, &trace);
        let Ok(composed) = timeout_at(self.deadline, composing).await else {
            return Err(self.timed_out(false));
        };
        let mut outgoing = composed?;
        if let Some(instance) = self.not_instance {
            outgoing.headers.insert("Mcp-Not-Instance", instance);
        }
        publishing.sends(&outgoing);
        Ok(outgoing)
    }

    async fn read(
        &self,
        answer: Result<Answer, oneshot::error::RecvError>,
    ) -> Result<Reply, SendError> {
        match answer {
            Ok(Answer::Response(reply)) => Ok(*reply),
            Ok(Answer::Claimed(message)) => {
                match timeout_at(self.deadline, self.claimed(&message)).await {
                    Ok(reply) => reply,
                    Err(_) => Err(self.timed_out(true)),
                }
            }
            Ok(Answer::NobodyListens) => Err(SendError::NobodyListens {
                target: self.command.target.to_string(),
            }),
            Err(_) => Err(SendError::Transport {
                reason: "the connection is closed".to_owned(),
            }),
        }
    }

    /// Fetches a reply that was too large for its message.
    async fn claimed(&self, message: &async_nats::Message) -> Result<Reply, SendError> {
        let body =
            payload::check_out(self.client, message.headers.as_ref(), &message.payload).await;
        let body = body.map_err(payload_error)?.unwrap_or_default();
        let frame = Format::of_message(message).and_then(|format| format.decode(&body));
        frame.map_err(|source: DecodeError| SendError::UnexpectedResult {
            target: self.command.target.to_string(),
            action: self.command.action.to_string(),
            source,
        })
    }

    fn timed_out(&self, queued: bool) -> SendError {
        SendError::Timeout {
            target: self.command.target.to_string(),
            action: self.command.action.to_string(),
            timeout: self.timeout,
            queued,
            attempts: 1,
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

fn report(progress: &Progress, on_progress: &Option<OnProgress>) {
    if let Some(observer) = on_progress {
        observer(progress);
    }
}

fn payload_error(error: PayloadError) -> SendError {
    match error {
        PayloadError::TooLarge { size, limit } => SendError::TooLarge {
            size: usize::try_from(size).unwrap_or(usize::MAX),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        },
        PayloadError::Denied { subject } => SendError::PermissionDenied { subject },
        error if error.is_temporary() => SendError::Transport {
            reason: error.to_string(),
        },
        error => SendError::Invalid {
            reason: error.to_string(),
        },
    }
}

pub(crate) fn store_error(error: StoreError) -> SendError {
    match error {
        StoreError::TooLarge { size, limit } => SendError::TooLarge { size, limit },
        StoreError::Denied { subject } => SendError::PermissionDenied { subject },
        other => SendError::Transport {
            reason: other.to_string(),
        },
    }
}

/// The message that carries a command, or the claim on its body.
pub(crate) async fn outgoing(
    client: &Client,
    subject: String,
    command: &Command,
    trace: &TraceContext,
) -> Result<Outgoing, SendError> {
    let body = Format::default()
        .encode(command)
        .map_err(|error| SendError::Invalid {
            reason: error.to_string(),
        })?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{}.{}", command.id, command.attempt));
    headers.insert("Content-Type", Format::default().content_type());
    trace.inject(&mut headers);
    // Another attempt has another body: an object is never overwritten.
    let name = match command.attempt {
        1 => command.id.clone(),
        attempt => format!("{}.{attempt}", command.id),
    };
    let body = payload::check_in(client, &name, body, &mut headers)
        .await
        .map_err(payload_error)?;
    Ok(Outgoing {
        subject,
        headers,
        body,
    })
}
