//! One publish: its span, which the message's headers carry on, and its figures.

use tokio::time::Instant;
use tracing::Span;

use crate::{
    client::Client,
    message::{Command, Event},
    store::{Outgoing, StoreError, Stored},
    trace::TraceContext,
};

use super::{
    instruments::wanted,
    metrics::{self, Of},
    sampling::{Fate, follows, is_dropped},
    spans::{self, Destination, signed},
};

const COMMAND: &str = "{namespace}.cmd.{agent}.{lane}.{action}";
const REALTIME: &str = "{namespace}.rt.{agent}.{action}";
const EVENT: &str = "{namespace}.evt.{agent}.{event}";
const DEAD_LETTER: &str = "{namespace}.dead.{agent}.{action}";

/// A publish that is under way. Dropped before its end is known, it counts as `unknown`.
pub(crate) struct Publishing {
    span: Span,
    figures: Option<Box<Figures>>,
}

struct Figures {
    agent: String,
    action: String,
    lane: &'static str,
    template: &'static str,
    durable: bool,
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

impl Publishing {
    /// An attempt to send a command, in the span that is current, unless nobody records the trace that is given.
    pub(crate) fn command(
        client: &Client,
        subject: &str,
        command: &Command,
        durable: bool,
        given: &TraceContext,
    ) -> Self {
        let template = if durable { COMMAND } else { REALTIME };
        let (agent, action) = (command.target.as_str(), command.action.as_str());
        let kind = if durable { "cmd" } else { "rt" };
        let span = || {
            let to = Destination {
                subject,
                template,
                name: format_args!("{}.{kind}.{agent}.{action}", client.namespace()),
            };
            spans::publish(client, &to)
        };
        let span = seen(!given.is_dropped(), span);
        if !span.is_disabled() {
            span.record("messaging.message.id", command.id.as_str());
            span.record("agentmsg.priority", command.priority.as_str());
            span.record("agentmsg.delivery_attempt", i64::from(command.attempt));
            if let Some(conversation) = &command.conversation_id {
                span.record("messaging.message.conversation_id", conversation.as_str());
            }
        }
        let lane = match durable {
            true => command.priority.as_str(),
            false => "realtime",
        };
        Self::new(span, agent, action, lane, template, durable)
    }

    /// An event, in the trace that is given; where nobody records that, `given` becomes what to pass on.
    pub(crate) fn event(
        client: &Client,
        subject: &str,
        event: &Event,
        given: &mut TraceContext,
    ) -> Self {
        let (agent, name) = (event.source.as_str(), event.name.as_str());
        let fate = Fate::of(given);
        let span = seen(fate != Fate::Unseen, || {
            let to = Destination {
                subject,
                template: EVENT,
                name: format_args!("{}.evt.{agent}.{name}", client.namespace()),
            };
            spans::publish(client, &to)
        });
        if !span.is_disabled() {
            fate.tell(&span);
            given.continue_in(&span);
            span.record("messaging.message.id", event.id.as_str());
            if let Some(conversation) = &event.conversation_id {
                span.record("messaging.message.conversation_id", conversation.as_str());
            }
        }
        Self::new(span, agent, name, "event", EVENT, true)
    }

    /// A dead letter, in the span that is current: that of the message which ends here.
    pub(crate) fn dead_letter(client: &Client, subject: &str) -> Self {
        let span = seen(!is_dropped(), || {
            let to = Destination {
                subject,
                template: DEAD_LETTER,
                name: format_args!("{subject}"),
            };
            spans::publish(client, &to)
        });
        // Its own figures are those of dead letters.
        Self {
            span,
            figures: None,
        }
    }

    fn new(
        span: Span,
        agent: &str,
        action: &str,
        lane: &'static str,
        template: &'static str,
        durable: bool,
    ) -> Self {
        let figures = wanted().then(|| {
            Box::new(Figures {
                agent: agent.to_owned(),
                action: action.to_owned(),
                lane,
                template,
                durable,
                began: Instant::now(),
            })
        });
        Self { span, figures }
    }

    /// What the headers are to say: this span where there is one, else what was given.
    pub(crate) fn headers_of(&self, given: &TraceContext) -> TraceContext {
        let own = TraceContext::of_span(&self.span);
        let own = own.or_else(|| match given.traceparent() {
            None if follows() => TraceContext::here(),
            // What a trace that nobody records is called has to be passed on as well.
            _ => None,
        });
        own.unwrap_or_else(|| given.clone())
    }

    /// Notes what is sent.
    pub(crate) fn sends(&self, outgoing: &Outgoing) {
        let size = signed(outgoing.body.len() as u64);
        self.span.record("messaging.message.body.size", size);
    }

    /// The server has answered, or not.
    pub(crate) fn stored(self, stored: &Result<Stored, StoreError>) {
        let outcome = metrics::outcome_of(stored);
        if stored.is_err() {
            spans::failed(&self.span, outcome);
        }
        self.end(outcome);
    }

    /// The reply has overtaken the acknowledgement, which is proof enough.
    pub(crate) fn proven(self) {
        self.end("stored");
    }

    /// A realtime message has left, or not.
    pub(crate) fn left(self, left: bool) {
        if !left {
            spans::failed(&self.span, "unavailable");
        }
        self.end(if left { "sent" } else { "unavailable" });
    }

    /// The message lies in the outbox, and is sent from there.
    pub(crate) fn spooled(self) {
        self.end("spooled");
    }

    /// It was not even sent: it could not be put together, or there is no right to.
    pub(crate) fn refused(self) {
        spans::failed(&self.span, "refused");
        self.end("refused");
    }

    fn end(mut self, outcome: &'static str) {
        if let Some(figures) = self.figures.take() {
            figures.record(outcome);
        }
    }
}

fn seen(is_seen: bool, span: impl FnOnce() -> Span) -> Span {
    match is_seen {
        true => span(),
        false => Span::none(),
    }
}

impl Figures {
    fn record(&self, outcome: &'static str) {
        metrics::published(self.of(), outcome, self.began.elapsed());
        if self.durable {
            metrics::persisted(&self.agent, &self.action, "publish", outcome);
        }
        if outcome == "duplicate" {
            metrics::deduplicated(&self.agent, &self.action, outcome);
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if let Some(figures) = self.figures.take() {
            figures.record("unknown");
        }
    }
}
