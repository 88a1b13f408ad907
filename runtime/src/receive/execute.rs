//! One command from delivery to settlement.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    message::{Answerer, Command, Format, McpError, Name, Progress, Raw, Token, code},
    trace::TraceContext,
};

use super::{Shared, inbound::Inbound};

/// How long a cancelled handler may take to end by itself before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// What a handler is given.
#[derive(Clone)]
pub struct Invocation {
    /// The command.
    pub command: Arc<Command>,
    /// After this nobody waits for the result any more.
    pub deadline: Option<Instant>,
    /// 1 when the server delivers the command for the first time.
    pub delivery: u64,
    /// Fires when the command is cancelled, its lease lost or the agent's grace over.
    pub cancelled: CancellationToken,
    /// The trace that the command belongs to.
    pub trace: TraceContext,
    /// The connection, under the agent's name.
    pub client: Client,
    /// The instance that runs the handler.
    pub instance: Token,
    frames: Arc<Frames>,
}

/// Where progress frames go.
struct Frames {
    shared: Arc<Shared>,
    answerer: Answerer,
    reply_to: Option<String>,
    format: Format,
    sent: AtomicU32,
}

impl Invocation {
    /// Sends a progress frame to whoever waits for the reply; nobody may.
    pub async fn progress(&self, progress: Progress) {
        let frames = &self.frames;
        // With `retry` only the final answer is carried.
        let Some(reply_to) = frames.reply_to.as_ref().filter(|_| self.command.retry.is_none()) else { return };
        let seq = frames.sent.fetch_add(1, Ordering::Relaxed) + 1;
        frames.shared.answer(reply_to, frames.format, frames.answerer.progress(seq, progress)).await;
    }

    /// The agent that runs the handler.
    #[must_use]
    pub fn agent(&self) -> &Name {
        &self.command.target
    }
}

impl Shared {
    /// Takes a message through to its end.
    pub(super) async fn process(self: &Arc<Self>, inbound: Inbound) {
        let command = match inbound.decode(self) {
            Ok(command) => Arc::new(command),
            Err(undecodable) => {
                let answerer = inbound.answerer(self, &undecodable.command_id, 1);
                return self.reject(inbound, &answerer, undecodable.reply_to, undecodable.error).await;
            }
        };
        let answerer = inbound.answerer(self, &command.id, command.attempt);
        let began = Instant::now();
        let ended = match inbound.admit(self, &command) {
            Ok(remaining) => self.execute(&inbound, &command, &answerer, remaining).await,
            Err(refusal) => Ended::With(Err(refusal)),
        };
        let outcome = match ended {
            Ended::With(outcome) => outcome,
            // Left unsettled, so that another instance takes it over.
            Ended::Abandoned if inbound.lease.is_some() => return,
            Ended::Abandoned => Err(McpError::temporary(code::DRAINING).message("the instance is shutting down")),
        };
        let mut frame = answerer.response(outcome.clone());
        frame.processing_ms = Some(began.elapsed().as_secs_f64() * 1000.0);
        frame.load = Some(self.load.load());
        self.settle(inbound, &command, outcome, frame).await;
    }

    async fn execute(
        self: &Arc<Self>,
        inbound: &Inbound,
        command: &Arc<Command>,
        answerer: &Answerer,
        remaining: Option<Duration>,
    ) -> Ended {
        let running = self.cancellations.enter(&command.id);
        let lost = inbound.lease.as_ref().map(|lease| lease.lost().clone()).unwrap_or_default();
        let cancelled = CancellationToken::new();
        let invocation = Invocation {
            command: Arc::clone(command),
            deadline: remaining.map(|remaining| Instant::now() + remaining),
            delivery: inbound.info.deliveries,
            cancelled: cancelled.clone(),
            trace: inbound.trace(),
            client: self.client.clone(),
            instance: self.instance.clone(),
            frames: Arc::new(Frames {
                shared: Arc::clone(self),
                answerer: answerer.clone(),
                reply_to: command.reply_to.clone(),
                format: inbound.format,
                sent: AtomicU32::new(0),
            }),
        };
        if running.token.is_cancelled() {
            return Ended::With(Err(cancelled_error()));
        }
        // `call` itself runs the author's code too: its panic is caught like that of the future.
        let handler = async { self.handler.call(invocation).await };
        let handler = AssertUnwindSafe(handler).catch_unwind();
        tokio::pin!(handler);
        let stopped = tokio::select! {
            ended = &mut handler => return Ended::With(ended.unwrap_or_else(|panic| Err(panicked(&*panic)))),
            () = running.token.cancelled() => Ended::With(Err(cancelled_error())),
            () = lost.cancelled() => Ended::Abandoned,
            () = self.abandon.cancelled() => Ended::Abandoned,
        };
        cancelled.cancel();
        match tokio::time::timeout(CANCEL_GRACE, handler).await {
            // It got to its end all the same: the truth is what it did.
            Ok(Ok(Ok(result))) => Ended::With(Ok(result)),
            _ => stopped,
        }
    }
}

/// How the execution of a command ended.
enum Ended {
    With(Result<Raw, McpError>),
    /// In the middle, because the work is or will be somebody else's.
    Abandoned,
}

fn cancelled_error() -> McpError {
    McpError::permanent(code::CANCELLED).message("cancelled by the control verb")
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> McpError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    McpError::temporary(code::HANDLER_PANICKED)
        .message(format!("the handler panicked: {}", text.unwrap_or("without a message")))
        .severity(crate::message::Severity::High)
}
