//! Pulls messages from one durable consumer, knowing at any time how many it has asked for.
//!
//! The library's own pull streams ask for fixed batches; an agent asks for what it has room for.

use std::{collections::VecDeque, time::Duration};

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{client::Client, denials::Listening, error::ReceiveError};

use super::delivery::DeliveryInfo;

/// How long a pull waits on the server; a lost one is asked again after it.
const EXPIRES: Duration = Duration::from_secs(20);

/// How often the server shows that it still knows of a pull.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Two heartbeats and a half: then the pull is lost and asked again.
const SILENCE: Duration = Duration::from_secs(5);

/// The server ends a drained subscription at once; one that goes away in this moment never does.
pub(super) const DRAIN_SILENCE: Duration = Duration::from_secs(2);

/// Between two looks whether a puller that has nothing outstanding should ask.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long the server is left alone after it withdrew a pull.
const WITHDRAWN_PAUSE: Duration = Duration::from_millis(250);

/// How long the server is left alone after it refused a pull: rights do not change from one moment to the next.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What is left of one pull.
#[derive(Debug, Clone, Copy)]
struct Pull {
    messages: u64,
    bytes: u64,
}

/// The pulls of one consumer.
pub(crate) struct Puller {
    client: Client,
    consumer: String,
    request_subject: String,
    inbox: String,
    frames: Subscriber,
    outstanding: u64,
    /// The pulls that the server has, oldest first: it fills them in this order. At most as many as there are messages
    /// outstanding.
    pulls: VecDeque<Pull>,
    /// How many messages the server had left after the last delivery.
    pending: u64,
    asked_at: Instant,
    heard_at: Instant,
    /// After a pull was withdrawn: the server has too many of them, and must not be asked at once.
    quiet_until: Instant,
    draining: bool,
    refusals: Listening,
}

impl Puller {
    pub(crate) async fn new(
        client: Client,
        stream: &str,
        consumer: &str,
    ) -> Result<Self, ReceiveError> {
        let inbox = client.nats().new_inbox();
        let frames = client
            .nats()
            .subscribe(inbox.clone())
            .await
            .map_err(|error| ReceiveError::Subscribe {
                subject: inbox.clone(),
                reason: error.to_string(),
            })?;
        let now = Instant::now();
        let refusals = client.denials().listen();
        Ok(Self {
            client,
            consumer: consumer.to_owned(),
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            frames,
            outstanding: 0,
            pulls: VecDeque::new(),
            pending: 0,
            asked_at: now,
            heard_at: now,
            quiet_until: now,
            draining: false,
            refusals,
        })
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Bytes that may come without being asked for again.
    pub(crate) fn outstanding_bytes(&self) -> u64 {
        self.pulls.iter().map(|pull| pull.bytes).sum()
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    /// Whether a message is likely to arrive at once: the server has some and was asked a moment ago.
    pub(crate) fn expects_soon(&self, within: Duration) -> bool {
        self.outstanding > 0 && self.pending > 0 && self.asked_at.elapsed() < within
    }

    /// Whether it makes sense to ask now. While the server is away every question would wait in the
    /// connection's queue, and all would be asked at once when it is back.
    pub(crate) fn may_ask(&self) -> bool {
        Instant::now() >= self.quiet_until && self.client.is_connected()
    }

    /// Asks the server for up to `count` messages.
    pub(crate) async fn ask(&mut self, count: u64) {
        // The server takes 0 for no bound.
        self.ask_within(count, 0).await;
    }

    /// Asks the server for up to `count` messages of together at most so many bytes, as it counts them: with subject and
    /// headers. A message over them ends the pull, so they must suffice for the largest.
    ///
    /// The trap: with a bound for bytes the server ends every pull that it has filled with `409 Batch Completed`, which
    /// without one it never says. Taken for a withdrawn pull it would count the messages twice and pause the asking after
    /// each batch: [`note_status`](Self::note_status) passes over it.
    pub(crate) async fn ask_within(&mut self, count: u64, bytes: u64) {
        let request = format!(
            r#"{{"batch":{count},"max_bytes":{bytes},"expires":{},"idle_heartbeat":{}}}"#,
            EXPIRES.as_nanos(),
            HEARTBEAT.as_nanos()
        );
        let publishing = self.client.nats().publish_with_reply(
            self.request_subject.clone(),
            self.inbox.clone(),
            request.into(),
        );
        match publishing.await {
            Ok(()) => {
                self.outstanding += count;
                self.pulls.push_back(Pull {
                    messages: count,
                    bytes,
                });
                self.asked_at = Instant::now();
                self.heard_at = self.asked_at;
            }
            Err(error) => tracing::debug!(%error, "a pull was not sent"),
        }
    }

    /// Forgets the pulls of a connection that is gone.
    pub(crate) fn reset(&mut self) {
        self.outstanding = 0;
        self.pulls.clear();
        self.heard_at = Instant::now();
    }

    /// Waits for the next message; `None` when only the number of outstanding pulls has changed.
    /// Cancellation loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let silent_at = match self.outstanding {
            // Nothing asked: a moment later it may make sense again.
            0 => self.heard_at.max(self.quiet_until) + ASK_AGAIN,
            _ => self.heard_at + SILENCE,
        };
        let frame = tokio::select! {
            frame = self.frames.next() => frame,
            () = self.refusals.refused(&self.request_subject) => {
                tracing::error!(
                    subject = self.request_subject,
                    "the server does not let this connection pull, nothing is received"
                );
                self.reset();
                self.quiet_until = Instant::now() + REFUSED_PAUSE;
                return None;
            }
            () = sleep_until(silent_at) => {
                if self.outstanding > 0 {
                    tracing::debug!(
                        consumer = self.consumer,
                        "a pull was lost, asking again"
                    );
                }
                self.reset();
                return None;
            }
        };
        let Some(frame) = frame else {
            // The connection is closed for good: the owner is stopping.
            return std::future::pending().await;
        };
        self.heard_at = Instant::now();
        self.account(frame)
    }

    /// Takes in what the server has already sent, after which nothing more comes.
    pub(crate) async fn next_after_drain(&mut self) -> Option<Message> {
        // A server that is away has nothing on its way to us, and answers no drain.
        if !self.client.is_connected() {
            return None;
        }
        if !std::mem::replace(&mut self.draining, true) && self.frames.drain().await.is_err() {
            return None;
        }
        loop {
            let frame = timeout(DRAIN_SILENCE, self.frames.next()).await.ok()??;
            if let Some(message) = self.account(frame) {
                return Some(message);
            }
        }
    }

    fn account(&mut self, frame: Message) -> Option<Message> {
        if let Some(status) = frame.status {
            self.note_status(status, &frame);
            return None;
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        self.take_from_pull(frame.length as u64);
        if let Some(info) = frame
            .reply
            .as_ref()
            .and_then(|reply| DeliveryInfo::parse(reply))
        {
            self.pending = info.pending;
        }
        Some(frame)
    }

    fn take_from_pull(&mut self, bytes: u64) {
        let Some(pull) = self.pulls.front_mut() else {
            return;
        };
        pull.messages = pull.messages.saturating_sub(1);
        pull.bytes = pull.bytes.saturating_sub(bytes);
        if pull.messages == 0 {
            self.pulls.pop_front();
        }
    }

    fn note_status(&mut self, status: StatusCode, frame: &Message) {
        match status.as_u16() {
            // An idle heartbeat.
            100 => {}
            // The end of a pull: no messages, expired, or withdrawn; the server says how many are left of it.
            404 | 408 | 409 => {
                let reason = frame.description.as_deref().unwrap_or_default();
                if reason == "Batch Completed" {
                    // The trap of `ask_within`: the messages themselves were counted.
                    return;
                }
                let left = frame
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get("Nats-Pending-Messages"));
                let left = left
                    .and_then(|left| left.as_str().parse().ok())
                    .unwrap_or(self.outstanding);
                self.outstanding = self.outstanding.saturating_sub(left);
                self.pulls.pop_front();
                if status.as_u16() == 409 && reason.contains("MaxBytes") {
                    // There are more, which the next pull has room for.
                    return;
                }
                self.pending = 0;
                if status.as_u16() == 409 {
                    self.quiet_until = Instant::now() + WITHDRAWN_PAUSE;
                    tracing::debug!(
                        consumer = self.consumer,
                        reason,
                        "the server withdrew a pull"
                    );
                }
            }
            503 => {
                self.pending = 0;
                // No JetStream for the moment; the silence rule asks again.
                tracing::debug!(
                    consumer = self.consumer,
                    "nobody answers pulls at the moment"
                );
            }
            other => tracing::debug!(
                consumer = self.consumer,
                status = other,
                "unexpected status of a pull"
            ),
        }
    }
}
