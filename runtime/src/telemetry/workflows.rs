//! What an engine of workflows tells, in the names that everyone else uses.
//!
//! A definition's name is a label and a state's name is one, because both are few; an instance is an attribute of spans.

use std::time::Duration;

use opentelemetry::KeyValue;
use tracing::{Span, field::Empty};

use crate::trace::TraceContext;

use super::{
    SPAN_TARGET,
    instruments::with,
    metrics,
    sampling::{Fate, is_dropped},
    spans::{failed, signed},
};

/// One workflow instance as spans show it.
#[derive(Debug, Clone, Copy)]
pub struct WorkflowSpan<'a> {
    /// The definition's name.
    pub definition: &'a str,
    /// The instance's id.
    pub instance: &'a str,
    /// The epoch of its owner.
    pub epoch: u64,
}

impl WorkflowSpan<'_> {
    /// `run workflow {definition}`: one task. It continues `given`, and is linked to it, which is how what waited for
    /// long stays connected.
    #[must_use]
    pub fn run(&self, given: &TraceContext) -> Span {
        let mut given = given.clone();
        let fate = Fate::of(&mut given);
        if fate == Fate::Unseen {
            let span = tracing::info_span!(target: SPAN_TARGET, parent: None, "run workflow");
            given.parent(&span);
            return span;
        }
        let span = tracing::info_span!(
            target: SPAN_TARGET,
            parent: None,
            "run workflow",
            otel.name = %format_args!("run workflow {}", self.definition),
            otel.kind = "internal",
            agentmsg.workflow.name = self.definition,
            agentmsg.workflow.instance = self.instance,
            agentmsg.workflow.epoch = signed(self.epoch),
            "error.type" = Empty,
            otel.status_code = Empty,
        );
        fate.tell(&span);
        given.parent_and_link(&span);
        span
    }

    /// `state {name}`: one visit of a state, in the span that is current.
    #[must_use]
    pub fn state(&self, name: &str) -> Span {
        if is_dropped() {
            return tracing::info_span!(target: SPAN_TARGET, "state");
        }
        tracing::info_span!(
            target: SPAN_TARGET,
            "state",
            otel.name = %format_args!("state {name}"),
            otel.kind = "internal",
            agentmsg.workflow.name = self.definition,
            agentmsg.workflow.instance = self.instance,
            agentmsg.workflow.state = name,
            agentmsg.workflow.epoch = signed(self.epoch),
            "error.type" = Empty,
            otel.status_code = Empty,
        )
    }
}

/// `fire schedule {name}`: what a schedule does at one of its times. A trace of its own, or that of the schedule would have no end;
/// it is linked to the span that is current.
#[must_use]
pub fn fire_span(schedule: &str) -> Span {
    let mut own = TraceContext::default();
    let fate = Fate::at_root(&mut own);
    if fate == Fate::Unseen {
        let span = tracing::info_span!(target: SPAN_TARGET, parent: None, "fire schedule");
        own.parent(&span);
        return span;
    }
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "fire schedule",
        otel.name = %format_args!("fire schedule {schedule}"),
        otel.kind = "internal",
        "error.type" = Empty,
        otel.status_code = Empty,
    );
    fate.tell(&span);
    TraceContext::current().link(&span);
    span
}

/// `checkpoint save` or `checkpoint restore`, in the span that is current.
#[must_use]
pub fn checkpoint_span(restore: bool) -> Span {
    if is_dropped() {
        return Span::none();
    }
    let name = match restore {
        true => "checkpoint restore",
        false => "checkpoint save",
    };
    tracing::info_span!(
        target: SPAN_TARGET,
        "checkpoint",
        otel.name = name,
        otel.kind = "internal",
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

/// Marks the span of a state as failed, with the error's code.
pub fn span_failed(span: &Span, code: &str) {
    failed(span, code);
}

/// Joins another trace to a span: that of the signal or timer that ended a long wait.
pub fn link(span: &Span, to: &TraceContext) {
    to.link(span);
}

/// Counts a change of state, `outcome` being what led to it: few words, known beforehand.
pub fn workflow_transition(definition: &str, state: &str, outcome: &'static str) {
    with(|all| {
        let labels = [
            KeyValue::new("definition", definition.to_owned()),
            KeyValue::new("state", state.to_owned()),
            KeyValue::new("outcome", outcome),
        ];
        all.workflow_transitions.add(1, &labels);
    });
}

/// Counts a write of an engine: `what` it wrote for a workflow of this definition, and what came of it.
pub fn workflow_persisted(
    agent: &str,
    definition: &str,
    what: &'static str,
    outcome: &'static str,
) {
    metrics::persisted(agent, definition, what, outcome);
}

/// Counts a write of a record that somebody else preceded.
pub fn cas_conflict(definition: &str) {
    with(|all| all.cas_conflicts.add(1, &[of(definition)]));
}

/// Measures a checkpoint that was written; `error` is the code where it could not be.
pub fn checkpoint_saved(span: &Span, definition: &str, bytes: u64, error: Option<&str>) {
    checkpoint(span, definition, bytes, error, "saved");
}

/// Measures a checkpoint that was read; `error` is the code where it could not be.
pub fn checkpoint_restored(span: &Span, definition: &str, bytes: u64, error: Option<&str>) {
    checkpoint(span, definition, bytes, error, "restored");
}

fn checkpoint(span: &Span, definition: &str, bytes: u64, error: Option<&str>, done: &'static str) {
    if let Some(code) = error {
        failed(span, code);
    }
    if bytes == 0 && error.is_none() {
        // It was there already: an engine before this one had got so far.
        return;
    }
    with(|all| {
        let outcome = KeyValue::new("outcome", error.map_or(done, |_| "failed"));
        all.checkpoint_bytes
            .record(bytes, &[of(definition), outcome]);
    });
}

/// Measures how long after its time a timer was handled.
pub fn timer_fired(definition: &str, late: Duration) {
    with(|all| {
        all.timer_lateness
            .record(late.as_secs_f64(), &[of(definition)]);
    });
}

fn of(definition: &str) -> KeyValue {
    KeyValue::new("definition", definition.to_owned())
}
