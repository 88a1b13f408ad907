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
    failpoint::failpoint,
    message::{Answerer, Command, Format, McpError, Name, Progress, Raw, Reply, Token, code},
    outcome::OutcomeKey,
    presence,
    telemetry::Ending,
    trace::TraceContext,
};

use super::{
    Shared, again::Again, bulkhead::Berth, inbound::Inbound, lease::Lease, once::still_worth_it,
    slots::Slot, verdict::Verdict,
};

/// How long a cancelled handler may take to end by itself before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// A command that shuns this instance comes back after this, mostly to another.
const PASS_ON_DELAY: Duration = Duration::from_millis(50);

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
    /// The revision of the key's reservation: it grows with each execution of the same key, so that a
    /// store which remembers the highest it has seen can refuse an instance that was overtaken.
    pub fence: Option<u64>,
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
        let Some(reply_to) = frames
            .reply_to
            .as_ref()
            .filter(|_| self.command.retry.is_none())
        else {
            return;
        };
        let seq = frames.sent.fetch_add(1, Ordering::Relaxed) + 1;
        frames
            .shared
            .answer(
                reply_to,
                frames.format,
                frames.answerer.progress(seq, progress),
            )
            .await;
    }

    /// The agent that runs the handler.
    #[must_use]
    pub fn agent(&self) -> &Name {
        &self.command.target
    }
}

impl Shared {
    /// Takes a message through to its end.
    pub(super) async fn process(self: &Arc<Self>, mut inbound: Inbound, mut slot: Slot) {
        failpoint("receive.taken");
        let fetched = inbound.fetch(self).await;
        let decoded = match fetched {
            Ok(()) => inbound.decode(self),
            Err(error) if error.is_temporary() && inbound.lease.is_some() => {
                tracing::warn!(%error, "the body of a command cannot be fetched, the command stays queued");
                return;
            }
            Err(error) => Err(inbound.undecodable(self, error.to_mcp_error())),
        };
        let command = match decoded {
            Ok(command) => Arc::new(command),
            Err(undecodable) => {
                let answerer = inbound.answerer(self, &undecodable.command_id, 1);
                return self
                    .reject(inbound, &answerer, undecodable.reply_to, undecodable.error)
                    .await;
            }
        };
        if inbound.is_not_for(self.instance.as_str())
            && presence::others_alive(&self.client, &self.agent, &self.instance).await
        {
            let again = Again {
                // Slower with age: while the other instance is full there is no hurry.
                after: (inbound.age(self) / 4).clamp(PASS_ON_DELAY, 40 * PASS_ON_DELAY),
                elsewhere: true,
                failures: 0,
            };
            inbound.processing.ends(Ending::Retry);
            return self.send_later(inbound, &command, again).await;
        }
        failpoint("receive.decoded");
        // Boxed: most of its size is the work itself.
        let verdict = Box::pin(self.judge(&inbound, &command, &mut slot)).await;
        self.settle(inbound, &command, verdict).await;
    }

    async fn judge(
        self: &Arc<Self>,
        inbound: &Inbound,
        command: &Arc<Command>,
        slot: &mut Slot,
    ) -> Verdict {
        let admission = inbound.admit(self, command);
        let stored_under = match OutcomeKey::of(command) {
            Ok(key) => key,
            Err(error) => {
                let error =
                    McpError::permanent(code::INVALID_PARAMETERS).message(error.to_string());
                return self.refuse(inbound, command, error);
            }
        };
        if let (Some(key), Err(error)) = (&stored_under, &admission)
            && matches!(error.code.as_str(), code::POISON | code::DEADLINE_EXCEEDED)
            && let Some(verdict) = self.done_already(inbound, command, key).await
        {
            return verdict;
        }
        // What a submitted command is refused for is its outcome too.
        let key = stored_under.filter(|_| admission.is_ok() || command.retry.is_some());
        match (key, admission) {
            (Some(key), admission) => self.once(inbound, command, &key, admission, slot).await,
            (None, Err(refusal)) => self.refuse(inbound, command, refusal),
            (None, Ok(remaining)) => {
                let arrived = Instant::now();
                let _berth = match self.berth(inbound, command, slot).await {
                    Ok(berth) => berth,
                    Err(verdict) => return *verdict,
                };
                let remaining = match still_worth_it(remaining, arrived.elapsed()) {
                    Ok(remaining) => remaining,
                    Err(refusal) => return self.refuse(inbound, command, refusal),
                };
                let answerer = inbound.answerer(self, &command.id, command.attempt);
                let began = Instant::now();
                match self
                    .execute(inbound, command, &answerer, remaining, None)
                    .await
                {
                    Ended::With(outcome) => {
                        let errors = outcome.as_ref().err().cloned().into_iter().collect();
                        Verdict::end(self.frame(&answerer, outcome, began.elapsed()), errors)
                    }
                    Ended::Abandoned => self.abandoned(inbound, &answerer),
                }
            }
        }
    }

    /// Waits for the action's own limit, aside: other actions have the place meanwhile.
    pub(super) async fn berth(
        &self,
        inbound: &Inbound,
        command: &Command,
        slot: &mut Slot,
    ) -> Result<Berth, Box<Verdict>> {
        let Some(limit) = self.bulkheads.of_action(command.action.as_str()) else {
            return Ok(Berth(None));
        };
        if let Ok(permit) = Arc::clone(&limit).try_acquire_owned() {
            return Ok(Berth(Some(permit)));
        }
        if inbound.lease.is_none() {
            let error = self.busy(format!(
                "`{}` runs as often at once as it may",
                command.action
            ));
            let error = error.of_limit_on(command.action.as_str());
            return Err(Box::new(self.refuse(inbound, command, error)));
        }
        if let Some(verdict) = self.step_aside(inbound, command, slot) {
            return Err(Box::new(verdict));
        }
        let mut permit = None;
        let waiting = async { permit = limit.acquire_owned().await.ok() };
        if let Some(verdict) = self.wait(inbound, command, waiting).await {
            return Err(Box::new(verdict));
        }
        if let Some(verdict) = self.wait(inbound, command, slot.step_back()).await {
            return Err(Box::new(verdict));
        }
        Ok(Berth(permit))
    }

    /// Lets a command wait aside, while there is room; then it is to come again, and all others go on.
    pub(super) fn step_aside(
        &self,
        inbound: &Inbound,
        command: &Command,
        slot: &mut Slot,
    ) -> Option<Verdict> {
        if slot.try_step_aside() {
            return None;
        }
        if inbound.lease.is_none() {
            let error = self.busy("too many commands wait for their turn".to_owned());
            return Some(self.refuse(inbound, command, error));
        }
        // Slower with age, as what waits for another instance.
        let after = (inbound.age(self) / 4).clamp(PASS_ON_DELAY, 40 * PASS_ON_DELAY);
        slot.goes_away(after);
        Some(Verdict::Later(after))
    }

    fn busy(&self, message: String) -> McpError {
        McpError::temporary(code::OVERLOADED)
            .message(message)
            .retry_after(self.load.typical().unwrap_or(CANCEL_GRACE))
    }

    /// A response frame.
    pub(super) fn frame(
        &self,
        answerer: &Answerer,
        outcome: Result<Raw, McpError>,
        took: Duration,
    ) -> Reply {
        let mut frame = answerer.response(outcome);
        frame.processing_ms = Some(took.as_secs_f64() * 1000.0);
        frame.load = Some(self.load.load());
        frame
    }

    /// A stored command is left to another instance; for any other this is the end.
    pub(super) fn abandoned(&self, inbound: &Inbound, answerer: &Answerer) -> Verdict {
        if inbound.lease.is_some() {
            return Verdict::Abandon;
        }
        let error = McpError::temporary(code::DRAINING).message("the instance is shutting down");
        Verdict::end(
            self.frame(answerer, Err(error.clone()), Duration::ZERO),
            vec![error],
        )
    }

    pub(super) async fn execute(
        self: &Arc<Self>,
        inbound: &Inbound,
        command: &Arc<Command>,
        answerer: &Answerer,
        remaining: Option<Duration>,
        fence: Option<Fence>,
    ) -> Ended {
        let running = self.cancellations.enter(&command.id);
        let lost = inbound
            .lease
            .as_ref()
            .map(|lease| lease.lost().clone())
            .unwrap_or_default();
        let cancelled = CancellationToken::new();
        // Whatever ends this future, threads that the handler left behind are told.
        let _told = cancelled.clone().drop_guard();
        let invocation = Invocation {
            command: Arc::clone(command),
            deadline: remaining.map(|remaining| Instant::now() + remaining),
            delivery: inbound.info.deliveries,
            cancelled: cancelled.clone(),
            trace: inbound.trace(),
            client: self.client.clone(),
            instance: self.instance.clone(),
            fence: fence.as_ref().map(|fence| fence.revision),
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
        // After an outage or a stop of the whole process the message may be somebody else's by now.
        let held = inbound.lease.as_ref().is_none_or(Lease::is_held);
        if !held || self.abandon.is_cancelled() {
            return Ended::Abandoned;
        }
        let overtaken = fence.map(|fence| fence.overtaken).unwrap_or_default();
        // `call` itself runs the author's code too: its panic is caught like that of the future.
        let handler = async {
            failpoint("receive.run");
            let ended = self.handler.call(invocation).await;
            failpoint("receive.ran");
            ended
        };
        let handler = AssertUnwindSafe(handler).catch_unwind();
        tokio::pin!(handler);
        let stopped = tokio::select! {
            biased;
            () = lost.cancelled() => Ended::Abandoned,
            () = overtaken.cancelled() => Ended::Abandoned,
            () = self.abandon.cancelled() => Ended::Abandoned,
            ended = &mut handler => return Ended::With(ended.unwrap_or_else(|panic| Err(panicked(&*panic)))),
            () = running.token.cancelled() => Ended::With(Err(cancelled_error())),
        };
        cancelled.cancel();
        match tokio::time::timeout(CANCEL_GRACE, handler).await {
            // It got to its end all the same: the truth is what it did.
            Ok(Ok(Ok(result))) => Ended::With(Ok(result)),
            _ => stopped,
        }
    }
}

/// What an execution of a keyed command is told by.
pub(super) struct Fence {
    /// The revision of its reservation.
    pub(super) revision: u64,
    /// Fires when another instance has the key.
    pub(super) overtaken: CancellationToken,
}

/// How the execution of a command ended.
pub(super) enum Ended {
    With(Result<Raw, McpError>),
    /// In the middle, because the work is or will be somebody else's.
    Abandoned,
}

pub(super) fn cancelled_error() -> McpError {
    McpError::permanent(code::CANCELLED).message("cancelled by the control verb")
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> McpError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    McpError::temporary(code::HANDLER_PANICKED)
        .message(format!(
            "the handler panicked: {}",
            text.unwrap_or("without a message")
        ))
        .severity(crate::message::Severity::High)
}
