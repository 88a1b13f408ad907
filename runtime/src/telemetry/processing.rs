//! One delivered message: its span, the trace that its handler continues, and its figures.

use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

use async_nats::Message;
use opentelemetry::{Context, context::FutureExt};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::{
    client::Client,
    message::{Command, CommandSubject, Event, Priority},
    trace::TraceContext,
};

use super::{
    instruments::wanted,
    metrics::{self, Of},
    sampling::Fate,
    spans::{self, Destination},
};

const COMMAND: &str = "{namespace}.cmd.{agent}.{lane}.{action}";
const REALTIME: &str = "{namespace}.rt.{agent}.{action}";
const EVENT: &str = "{namespace}.evt.{agent}.{event}";

/// What strangers ask for is no label: there is no end of it.
const UNKNOWN: &str = "unknown";

/// How work on a message has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    /// Nobody has said anything yet: left to another instance.
    Abandoned,
    Ok,
    Error,
    /// Given back, to be tried again.
    Retry,
    /// No message that can be read.
    Rejected,
}

impl Ending {
    fn of(value: u8) -> &'static str {
        match value {
            value if value == Self::Ok as u8 => "ok",
            value if value == Self::Error as u8 => "error",
            value if value == Self::Retry as u8 => "retry",
            value if value == Self::Rejected as u8 => "rejected",
            _ => "abandoned",
        }
    }
}

/// A message as it arrives.
pub(crate) struct Arrival<'a> {
    pub(crate) client: &'a Client,
    pub(crate) message: &'a Message,
    pub(crate) deliveries: u64,
    /// How many came in its pack.
    pub(crate) members: Option<u32>,
}

/// A message that is worked on; its end is what was said last before it is dropped.
pub(crate) struct Processing {
    /// None for a trace that nobody records.
    span: Span,
    /// That trace, in which the work is all the same: what it does is not to begin others.
    unseen: Option<Context>,
    trace: TraceContext,
    outcome: AtomicU8,
    figures: Option<Box<Figures>>,
}

struct Figures {
    agent: String,
    action: String,
    lane: &'static str,
    template: &'static str,
    began: Instant,
}

impl Figures {
    fn of(&self) -> Of<'_> {
        Of {
            agent: &self.agent,
            action: &self.action,
            lane: self.lane,
            template: self.template,
        }
    }
}

impl Processing {
    /// A command. `knows` tells whether there is such an action: what strangers put into subjects is no label.
    pub(crate) fn command(arrival: &Arrival<'_>, knows: impl FnOnce(&str) -> bool) -> Self {
        let agent = arrival.client.name().as_str();
        let said = CommandSubject::parse(&arrival.message.subject);
        let action = said.map_or(UNKNOWN, |said| said.action);
        let lane = said.and_then(|said| said.lane);
        let (kind, template) = match lane {
            Some(_) => ("cmd", COMMAND),
            None => ("rt", REALTIME),
        };
        let group = Group { agent, lane };
        let name = format_args!("{}.{kind}.{agent}.{action}", arrival.client.namespace());
        let known = |action| if knows(action) { action } else { UNKNOWN };
        let lane = lane.map_or("realtime", Priority::as_str);
        let figures = || Figures::new(agent, known(action), lane, template);
        Self::new(arrival, name, template, &group, figures)
    }

    /// An event, for the subscription that `consumer` belongs to.
    pub(crate) fn event(arrival: &Arrival<'_>) -> Self {
        let agent = arrival.client.name().as_str();
        let mut tokens = arrival.message.subject.rsplit('.');
        let event = tokens.next().unwrap_or("unknown");
        let source = tokens.next().unwrap_or("unknown");
        let name = format_args!("{}.evt.{source}.{event}", arrival.client.namespace());
        let figures = || Figures::new(agent, event, "event", EVENT);
        Self::new(arrival, name, EVENT, &agent, figures)
    }

    fn new(
        arrival: &Arrival<'_>,
        name: fmt::Arguments<'_>,
        template: &'static str,
        consumer: &dyn fmt::Display,
        figures: impl FnOnce() -> Figures,
    ) -> Self {
        let message = arrival.message;
        let from = Destination {
            subject: &message.subject,
            template,
            name,
        };
        let mut sent = TraceContext::extract(message.headers.as_ref());
        let fate = Fate::of(&mut sent);
        let span = match fate {
            Fate::Unseen => Span::none(),
            _ => spans::process(
                arrival.client,
                &from,
                consumer,
                message.payload.len(),
                arrival.deliveries,
            ),
        };
        fate.tell(&span);
        if let (Some(members), false) = (arrival.members, span.is_disabled()) {
            span.record("messaging.batch.message_count", i64::from(members));
        }
        let unseen = (fate == Fate::Unseen).then(|| sent.remote());
        let trace = continued(&span, sent);
        let figures = wanted().then(|| Box::new(figures()));
        if let Some(figures) = &figures {
            metrics::delivered(figures.of(), arrival.deliveries);
        }
        Self {
            span,
            unseen,
            trace,
            outcome: AtomicU8::new(Ending::Abandoned as u8),
            figures,
        }
    }

    /// What the work runs in, so that what it does is in the same trace.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            span: self.span.clone(),
            unseen: self.unseen.clone(),
        }
    }

    /// What the work passes on.
    pub(crate) fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// The message could be read as this command.
    pub(crate) fn reads(&self, command: &Command) {
        if self.span.is_disabled() {
            return;
        }
        self.span
            .record("messaging.message.id", command.id.as_str());
        self.span
            .record("agentmsg.priority", command.priority.as_str());
        self.in_conversation(command.conversation_id.as_deref());
    }

    /// The message could be read as this event.
    pub(crate) fn reads_event(&self, event: &Event) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("messaging.message.id", event.id.as_str());
        self.in_conversation(event.conversation_id.as_deref());
    }

    fn in_conversation(&self, id: Option<&str>) {
        if let Some(id) = id {
            self.span.record("messaging.message.conversation_id", id);
        }
    }

    /// What became of its idempotency key: `executed`, `replayed` or `conflict`.
    pub(crate) fn once(&self, outcome: &'static str) {
        self.span.record("agentmsg.idempotency.outcome", outcome);
        if let (true, Some(figures)) = (outcome != "executed", &self.figures) {
            metrics::deduplicated(&figures.agent, &figures.action, outcome);
        }
    }

    /// What figures call its action, where the agent has none of that name.
    pub(crate) fn other_word(&self) -> Option<&'static str> {
        let figures = self.figures.as_ref()?;
        (figures.action == UNKNOWN).then_some(UNKNOWN)
    }

    /// Another attempt of it will be made by the runtime.
    pub(crate) fn retried(&self) {
        if let Some(figures) = &self.figures {
            metrics::retried(&figures.agent, &figures.action, "runtime");
        }
    }

    /// Its outcome record or its schedule was written, or not.
    pub(crate) fn persisted(&self, what: &'static str, written: bool) {
        if let Some(figures) = &self.figures {
            let outcome = if written { "stored" } else { "failed" };
            metrics::persisted(&figures.agent, &figures.action, what, outcome);
        }
    }

    /// Says how it ends.
    pub(crate) fn ends(&self, outcome: Ending) {
        self.outcome.store(outcome as u8, Ordering::Relaxed);
    }

    /// Says that it ends with an error.
    pub(crate) fn fails(&self, outcome: Ending, code: &str) {
        spans::failed(&self.span, code);
        self.ends(outcome);
    }
}

/// The span of a message, or the trace that nobody records.
pub(crate) struct Scope {
    span: Span,
    unseen: Option<Context>,
}

impl Scope {
    /// Does the work in it. Boxed by the caller: it would be here twice.
    pub(crate) async fn run<T>(self, work: impl Future<Output = T> + Unpin) -> T {
        match self.unseen {
            Some(trace) => work.with_context(trace).await,
            None => work.instrument(self.span).await,
        }
    }
}

impl Figures {
    fn new(agent: &str, action: &str, lane: &'static str, template: &'static str) -> Self {
        Self {
            agent: agent.to_owned(),
            action: action.to_owned(),
            lane,
            template,
            began: Instant::now(),
        }
    }
}

impl Drop for Processing {
    fn drop(&mut self) {
        if let Some(figures) = &self.figures {
            let outcome = Ending::of(self.outcome.load(Ordering::Relaxed));
            metrics::processed(figures.of(), outcome, figures.began.elapsed());
        }
    }
}

/// The message's sender is parent and link at once: some backends follow the one, some the other.
fn continued(span: &Span, sent: TraceContext) -> TraceContext {
    if span.is_disabled() {
        return sent;
    }
    sent.parent_and_link(span);
    TraceContext::of_span(span).unwrap_or(sent)
}

/// The consumer of a lane, put together only where somebody reads it.
struct Group<'a> {
    agent: &'a str,
    lane: Option<Priority>,
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane {
            Some(lane) => write!(f, "{}_{lane}", self.agent),
            None => f.write_str(self.agent),
        }
    }
}
