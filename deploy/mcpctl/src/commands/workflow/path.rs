//! The path a workflow has taken: one line for each state, how it came there, and how long it stayed.

use std::time::Duration;

use mcp_agent_sdk::WorkflowRecord;

use super::status;
use crate::output::{Cell, Table, Tone, utc};

/// Entries that a record keeps; of a longer path it has forgotten the beginning.
const HISTORY_KEPT: usize = 128;

/// A stay in a state.
#[derive(Debug, PartialEq, Eq)]
struct Step<'a> {
    state: &'a str,
    by: &'a str,
    /// Unix milliseconds; `None`: forgotten.
    since: Option<u64>,
    /// `None`: it is still there.
    until: Option<u64>,
}

/// The path as aligned lines under a header; `now_ms` by the server's clock.
pub(super) fn drawn(record: &WorkflowRecord, now_ms: u64) -> String {
    let mut table = Table::new(&["", "entered", "state", "by", "for"]);
    let steps = steps(record);
    let last = steps.len().saturating_sub(1);
    for (number, step) in steps.iter().enumerate() {
        let is_last = number == last;
        let glyph = match (number, is_last) {
            (0, true) => "─",
            (0, false) => "┌",
            (_, false) => "├",
            (_, true) => "└",
        };
        let tone = if is_last {
            status::tone(record.status)
        } else {
            Tone::Good
        };
        let stayed = if is_last {
            so_far(record, step, now_ms)
        } else {
            span(step, step.until)
        };
        table.row([
            Cell::toned(Tone::Quiet, glyph),
            step.since.map_or_else(|| "earlier".to_owned(), utc).into(),
            Cell::toned(tone, step.state),
            step.by.into(),
            stayed.into(),
        ]);
    }
    table.render()
}

fn steps(record: &WorkflowRecord) -> Vec<Step<'_>> {
    let history = &record.history;
    let forgotten = history.len() >= HISTORY_KEPT;
    let first = history.first();
    let mut steps = vec![Step {
        state: first.map_or(&record.state, |entry| &entry.from).as_str(),
        by: if forgotten { "" } else { "start" },
        since: (!forgotten).then_some(record.created_at),
        until: first.map(|entry| entry.at),
    }];
    for (number, entry) in history.iter().enumerate() {
        steps.push(Step {
            state: entry.to.as_str(),
            by: &entry.trigger,
            since: Some(entry.at),
            until: history.get(number + 1).map(|next| next.at),
        });
    }
    steps
}

fn span(step: &Step<'_>, until: Option<u64>) -> String {
    match step.since.zip(until) {
        Some((since, until)) => status::stay(Duration::from_millis(until.saturating_sub(since))),
        None => String::new(),
    }
}

/// Of the state it is in: how long it has been there, or was until it ended, and what it does there.
fn so_far(record: &WorkflowRecord, step: &Step<'_>, now_ms: u64) -> String {
    if record.is_ended() {
        let stayed = span(step, Some(record.updated_at));
        return format!("{stayed}, {}", record.status);
    }
    let what = match status::waits_for(record) {
        Some(what) => format!("waiting for {what}"),
        None if record.attempt > 1 => format!("{}, attempt {}", record.status, record.attempt),
        None => record.status.to_string(),
    };
    format!("{} so far, {what}", span(step, Some(now_ms)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A record with these fields, beside those that every record has.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers write `json!` in place"
    )]
    pub(crate) fn record(fields: Value) -> WorkflowRecord {
        let mut record = json!({
            "id": "order-17", "definition": "probe_pipeline", "version": "1", "state": "first", "status": "running",
            "data": {}, "epoch": 1, "entry": 1, "attempt": 1, "created_at": 0, "updated_at": 0,
        });
        for (name, value) in fields.as_object().unwrap() {
            record[name] = value.clone();
        }
        serde_json::from_value(record).unwrap()
    }

    pub(crate) fn came(from: &str, to: &str, trigger: &str, at: u64) -> Value {
        json!({ "from": from, "to": to, "trigger": trigger, "at": at })
    }

    #[test]
    fn every_state_has_a_line_with_its_time_and_cause() {
        let record = record(json!({
            "state": "third", "status": "completed", "updated_at": 70_340,
            "history": [came("first", "gate", "state", 1_500), came("gate", "third", "signal approve", 70_000)],
        }));
        let expected = [
            "   ENTERED                   STATE  BY              FOR",
            "┌  1970-01-01 00:00:00.000Z  first  start           1.5s",
            "├  1970-01-01 00:00:01.500Z  gate   state           1m 8s",
            "└  1970-01-01 00:01:10.000Z  third  signal approve  340ms, completed",
        ];
        let path = drawn(&record, 999_999);
        assert_eq!(path.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn last_line_says_where_it_is_now() {
        let check = |fields: Value, expected: &str| {
            let path = drawn(&record(fields), 5_000);
            let last = path.lines().last().unwrap().to_owned();
            assert!(last.ends_with(expected), "{path}");
        };
        check(json!({}), "first  start  5.0s so far, running");
        check(
            json!({ "attempt": 3 }),
            "start  5.0s so far, running, attempt 3",
        );
        let history = json!([came("first", "gate", "state", 4_000)]);
        check(
            json!({ "state": "gate", "status": "waiting", "wait": { "signals": ["approve"] }, "history": history }),
            "gate   state  1.0s so far, waiting for the signal approve",
        );
    }

    #[test]
    fn forgotten_beginning_has_no_time() {
        let history: Vec<Value> = (0..128).map(|at| came("a", "b", "state", at)).collect();
        let path = drawn(&record(json!({ "history": history })), 5_000);
        let first = path.lines().nth(1).unwrap();
        assert!(first.starts_with("┌  earlier"), "{path}");
        assert_eq!(path.lines().count(), 130, "a header, and 129 stays");
    }
}
