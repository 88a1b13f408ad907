//! The spans, each with all of its attributes in one place.
//!
//! The macros compute nothing while no subscriber wants the target.

use std::fmt;

use tracing::{Span, field::Empty};

use crate::{
    client::Client,
    error::SendError,
    message::{Command, Name, Reply},
    resilience::BreakerState,
    trace::TraceContext,
};

use super::{
    SPAN_TARGET,
    sampling::{Fate, is_dropped},
};

/// All attempts to send one command, in the trace that is given; where nobody records that, `given` becomes what to pass on.
pub(crate) fn sending(command: &Command, given: &mut TraceContext) -> Span {
    let fate = Fate::of(given);
    if fate == Fate::Unseen {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "send_command",
        otel.kind = "internal",
        messaging.system = "nats",
        agentmsg.breaker.state = Empty,
        messaging.message.id = command.id,
        messaging.message.conversation_id = command.conversation_id,
        agentmsg.priority = command.priority.as_str(),
        agentmsg.target = command.target.as_str(),
        agentmsg.action = command.action.as_str(),
        "error.type" = Empty,
        otel.status_code = Empty,
    );
    fate.tell(&span);
    given.continue_in(&span);
    span
}

/// Handing one command over; see [`sending`].
pub(crate) fn submitting(command: &Command, given: &mut TraceContext) -> Span {
    let fate = Fate::of(given);
    if fate == Fate::Unseen {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "submit_command",
        otel.kind = "internal",
        messaging.system = "nats",
        messaging.message.id = command.id,
        messaging.message.conversation_id = command.conversation_id,
        agentmsg.priority = command.priority.as_str(),
        agentmsg.target = command.target.as_str(),
        agentmsg.action = command.action.as_str(),
        "error.type" = Empty,
        otel.status_code = Empty,
    );
    fate.tell(&span);
    given.continue_in(&span);
    span
}

/// Notes in the span that sends what the breaker was when it was asked.
pub(crate) fn breaker_seen(state: impl FnOnce() -> BreakerState) {
    if is_dropped() {
        return;
    }
    let span = Span::current();
    if !span.is_disabled() {
        span.record("agentmsg.breaker.state", breaker_word(state()));
    }
}

/// Notes how sending ended.
pub(crate) fn sent(span: &Span, outcome: &Result<Reply, SendError>) {
    if span.is_disabled() {
        return;
    }
    match outcome {
        Ok(Reply {
            error: Some(error), ..
        }) => failed(span, &error.code),
        Ok(_) => {}
        Err(error) => failed(span, &error.code()),
    }
}

/// Notes how handing over ended.
pub(crate) fn submitted<T>(span: &Span, outcome: &Result<T, SendError>) {
    if let (false, Err(error)) = (span.is_disabled(), outcome) {
        failed(span, &error.code());
    }
}

/// What a message that is published or processed is called.
pub(super) struct Destination<'a> {
    pub(super) subject: &'a str,
    pub(super) template: &'static str,
    /// `mcp.cmd.<agent>.<action>`: the subject without the lane.
    pub(super) name: fmt::Arguments<'a>,
}

/// One message on its way to the server.
pub(super) fn publish(client: &Client, to: &Destination<'_>) -> Span {
    tracing::info_span!(
        target: SPAN_TARGET,
        "publish",
        otel.name = %format_args!("publish {}", to.name),
        otel.kind = "producer",
        messaging.system = "nats",
        messaging.destination.name = to.subject,
        messaging.destination.template = to.template,
        messaging.operation.name = "publish",
        "messaging.operation.type" = "send",
        messaging.message.id = Empty,
        messaging.message.conversation_id = Empty,
        messaging.message.body.size = Empty,
        server.address = host(client.server()),
        agentmsg.priority = Empty,
        agentmsg.delivery_attempt = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// One delivered message, from its arrival to its settlement.
pub(super) fn process(
    client: &Client,
    from: &Destination<'_>,
    consumer: &dyn fmt::Display,
    bytes: usize,
    delivery: u64,
) -> Span {
    // A root for `tracing`: its parent is in the message.
    tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "process",
        otel.name = %format_args!("process {}", from.name),
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.destination.name = from.subject,
        messaging.destination.template = from.template,
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.consumer.group.name = %consumer,
        messaging.batch.message_count = Empty,
        messaging.message.id = Empty,
        messaging.message.conversation_id = Empty,
        messaging.message.body.size = signed(bytes as u64),
        server.address = host(client.server()),
        agentmsg.priority = Empty,
        agentmsg.delivery_attempt = signed(delivery),
        agentmsg.idempotency.outcome = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// An acknowledgement that is none: `nak` or `term`.
pub(crate) fn settling(how: &'static str, agent: &Name) -> Span {
    if is_dropped() {
        return Span::none();
    }
    tracing::info_span!(
        target: SPAN_TARGET,
        "settle",
        otel.kind = "client",
        messaging.system = "nats",
        messaging.operation.name = how,
        "messaging.operation.type" = "settle",
        agentmsg.agent = agent.as_str(),
    )
}

/// Marks a span as failed; the code says why, and no text does.
pub(super) fn failed(span: &Span, code: &str) {
    span.record("error.type", code);
    span.record("otel.status_code", "ERROR");
}

/// A state as attributes and labels have it.
pub(super) fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}

/// Numbers reach the exporter as numbers only when they are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The first host of a server's address.
fn host(url: &str) -> &str {
    let first = url.split(',').next().unwrap_or(url).trim();
    let authority = first.split_once("://").map_or(first, |(_, rest)| rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_between_scheme_and_port() {
        let check = |url: &str, expected: &str| assert_eq!(host(url), expected, "{url}");
        check("nats://127.0.0.1:4222", "127.0.0.1");
        check("nats://a.example:4222,nats://b.example:4222", "a.example");
        check("tls://[::1]:4222", "[::1]");
        check("nats://[::1]", "[::1]");
        check("localhost", "localhost");
    }
}
