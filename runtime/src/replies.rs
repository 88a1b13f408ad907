//! One subscription per client, from which reply frames find the callers that wait for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_nats::{Message, StatusCode};
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    message::{Format, Progress, Reply, ReplyKind},
    provenance,
};

/// Progress frames held for a caller that is slow to look; older ones are worth less than memory.
const PROGRESS_BACKLOG: usize = 64;

/// The table of waiting callers.
#[derive(Clone, Default)]
pub(crate) struct Replies {
    waiting: Waiting,
    /// Ends the listening with the last clone: a subscription that waits for ever would keep the connection for ever.
    _listening: Option<Arc<DropGuard>>,
}

type Waiting = Arc<Mutex<HashMap<String, Waiter>>>;

struct Waiter {
    response: oneshot::Sender<Answer>,
    progress: Option<mpsc::Sender<Progress>>,
}

/// What came back.
pub(crate) enum Answer {
    Response(Box<Reply>),
    /// A reply whose body lies in the object store.
    Claimed(Message),
    /// The server found no listener for a realtime command.
    NobodyListens,
}

/// A caller's place in the table; dropping it gives the place back.
pub(crate) struct Expected {
    pub(crate) response: oneshot::Receiver<Answer>,
    pub(crate) progress: Option<mpsc::Receiver<Progress>>,
    command_id: String,
    replies: Replies,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.replies.table().remove(&self.command_id);
    }
}

impl Replies {
    pub(crate) async fn subscribe(
        nats: &async_nats::Client,
        subject: String,
    ) -> Result<Self, async_nats::SubscribeError> {
        let mut frames = nats.subscribe(subject).await?;
        let stop = CancellationToken::new();
        let listening = Self {
            waiting: Waiting::default(),
            _listening: None,
        };
        let replies = Self {
            waiting: Arc::clone(&listening.waiting),
            _listening: Some(Arc::new(stop.clone().drop_guard())),
        };
        tokio::spawn(async move {
            while let Some(Some(message)) = stop.run_until_cancelled(frames.next()).await {
                listening.route(&message);
            }
        });
        Ok(replies)
    }

    /// Makes a place for the frames of one command.
    pub(crate) fn expect(&self, command_id: &str, with_progress: bool) -> Expected {
        let (response_tx, response) = oneshot::channel();
        let (progress_tx, progress) = match with_progress {
            true => Some(mpsc::channel(PROGRESS_BACKLOG)).unzip(),
            false => (None, None),
        };
        let waiter = Waiter {
            response: response_tx,
            progress: progress_tx,
        };
        self.table().insert(command_id.to_owned(), waiter);
        Expected {
            response,
            progress,
            command_id: command_id.to_owned(),
            replies: self.clone(),
        }
    }

    fn route(&self, message: &Message) {
        // Somebody's own message, pulled to here.
        if provenance::redirected(message) {
            return;
        }
        let command_id = message.subject.rsplit('.').next().unwrap_or_default();
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return self.finish(command_id, Answer::NobodyListens);
        }
        // Only responses are ever that large.
        if message
            .headers
            .as_ref()
            .is_some_and(|headers| headers.get("Mcp-Payload").is_some())
        {
            return self.finish(command_id, Answer::Claimed(message.clone()));
        }
        let reply = match decode(message) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(
                    field = error.field(),
                    "a reply frame cannot be read, ignoring it"
                );
                return;
            }
        };
        match reply.kind {
            ReplyKind::Response => self.finish(command_id, Answer::Response(Box::new(reply))),
            ReplyKind::Progress => self.advance(command_id, reply.progress.unwrap_or_default()),
        }
    }

    fn finish(&self, command_id: &str, answer: Answer) {
        let waiter = self.table().remove(command_id);
        match waiter {
            // The caller may have gone in this very moment.
            Some(waiter) => drop(waiter.response.send(answer)),
            None => tracing::debug!(command_id, "nobody waits for this reply any more"),
        }
    }

    fn advance(&self, command_id: &str, progress: Progress) {
        if let Some(Waiter {
            progress: Some(frames),
            ..
        }) = self.table().get(command_id)
        {
            let _ = frames.try_send(progress);
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Waiter>> {
        // The table is consistent between any two statements: a panic elsewhere cannot have broken it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode(message: &Message) -> Result<Reply, crate::message::DecodeError> {
    Format::of_message(message)?.decode(&message.payload)
}
