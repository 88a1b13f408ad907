//! One function for each fact that is counted. None of them does anything before somebody wants the figures.

use std::time::Duration;

use opentelemetry::KeyValue;

use crate::{
    message::{Name, Priority},
    resilience::BreakerState,
    store::{StoreError, Stored},
};

use super::{instruments::with, spans::breaker_word};

/// Whom a figure is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) agent: &'a str,
    pub(super) action: &'a str,
    pub(super) lane: &'static str,
    /// The shape of the subject, with its variable parts in braces.
    pub(super) template: &'static str,
}

impl Of<'_> {
    fn labels(self, operation: &'static str, outcome: &'static str) -> [KeyValue; 7] {
        [
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.destination.template", self.template),
            KeyValue::new("agent", self.agent.to_owned()),
            KeyValue::new("action", self.action.to_owned()),
            KeyValue::new("lane", self.lane),
            KeyValue::new("outcome", outcome),
        ]
    }
}

fn agent_action(agent: &str, action: &str) -> [KeyValue; 2] {
    [
        KeyValue::new("agent", agent.to_owned()),
        KeyValue::new("action", action.to_owned()),
    ]
}

fn labels(agent: &str, action: &str, outcome: &'static str) -> [KeyValue; 3] {
    let [agent, action] = agent_action(agent, action);
    [agent, action, KeyValue::new("outcome", outcome)]
}

pub(super) fn published(of: Of<'_>, outcome: &'static str, took: Duration) {
    with(|all| {
        let labels = of.labels("publish", outcome);
        all.operation_duration.record(took.as_secs_f64(), &labels);
        all.sent.add(1, &labels);
    });
}

pub(super) fn delivered(of: Of<'_>, deliveries: u64) {
    with(|all| {
        let again = if deliveries > 1 { "again" } else { "first" };
        all.consumed.add(1, &of.labels("receive", again));
        if deliveries > 1 {
            let [agent, action] = agent_action(of.agent, of.action);
            let lane = KeyValue::new("lane", of.lane);
            all.redeliveries.add(1, &[agent, action, lane]);
        }
    });
}

pub(super) fn processed(of: Of<'_>, outcome: &'static str, took: Duration) {
    with(|all| {
        let labels = of.labels("process", outcome);
        all.process_duration.record(took.as_secs_f64(), &labels);
    });
}

pub(super) fn outcome_of(stored: &Result<Stored, StoreError>) -> &'static str {
    match stored {
        Ok(Stored {
            duplicate: true, ..
        }) => "duplicate",
        Ok(_) => "stored",
        Err(StoreError::TooLarge { .. }) => "too_large",
        Err(StoreError::Refused { .. } | StoreError::Denied { .. }) => "refused",
        Err(StoreError::Unavailable { .. }) => "unavailable",
    }
}

/// What became of a write: of a message, an outcome record, a dead letter or a schedule.
pub(super) fn persisted(agent: &str, action: &str, what: &'static str, outcome: &'static str) {
    with(|all| {
        let [agent, action, outcome] = labels(agent, action, outcome);
        let what = KeyValue::new("messaging.operation.name", what);
        all.persistence.add(1, &[agent, action, outcome, what]);
    });
}

pub(crate) fn dead_letter(agent: &str, action: &str, stored: bool) {
    let outcome = if stored { "stored" } else { "failed" };
    with(|all| all.dead_letters.add(1, &labels(agent, action, outcome)));
    persisted(agent, action, "dead_letter", outcome);
}

/// A message that is known: `replayed` from its stored outcome, `duplicate` for the server, or a `conflict`.
pub(super) fn deduplicated(agent: &str, action: &str, how: &'static str) {
    with(|all| all.dedup_hits.add(1, &labels(agent, action, how)));
}

/// Another attempt, made by `requester` or `runtime`.
pub(crate) fn retried(agent: &str, action: &str, by: &'static str) {
    with(|all| all.retries.add(1, &labels(agent, action, by)));
}

pub(crate) fn queue_wait(agent: &str, subject: &str, waited: Duration) {
    with(|all| {
        // `<ns>.cmd.<agent>.<lane>.<action>`; a realtime command waits in no queue of ours.
        let lane = subject
            .split('.')
            .nth(3)
            .and_then(|lane| lane.parse().ok())
            .map_or("realtime", Priority::as_str);
        let agent = KeyValue::new("agent", agent.to_owned());
        all.queue_wait
            .record(waited.as_secs_f64(), &[agent, KeyValue::new("lane", lane)]);
    });
}

/// The breaker of a target, or of one action of it, has entered a state.
pub(crate) fn breaker_changed(agent: &Name, action: Option<&Name>, to: BreakerState) {
    with(|all| {
        let action = action.map_or("*", Name::as_str);
        let labels = labels(agent.as_str(), action, breaker_word(to));
        all.breaker_transitions.add(1, &labels);
    });
}

pub(crate) fn limiter_waited(agent: &str, priority: Priority, passed: bool, waited: Duration) {
    with(|all| {
        let labels = [
            KeyValue::new("agent", agent.to_owned()),
            KeyValue::new("lane", priority.as_str()),
            KeyValue::new("outcome", if passed { "passed" } else { "refused" }),
        ];
        all.limiter_wait.record(waited.as_secs_f64(), &labels);
    });
}

/// Measures how many messages went into one pack.
pub fn pack_of(agent: &str, members: usize) {
    with(|all| {
        let agent = KeyValue::new("agent", agent.to_owned());
        all.pack_size.record(members as u64, &[agent]);
    });
}
