//! Where a workflow stands, in words.

use std::time::Duration;

use mcp_agent_sdk::{WorkflowRecord, WorkflowStatus};

use crate::output::{Cell, Tone, age, paint, utc};

/// What the status is painted for.
pub(crate) fn tone(status: WorkflowStatus) -> Tone {
    match status {
        WorkflowStatus::Running => Tone::Strong,
        WorkflowStatus::Waiting | WorkflowStatus::Parked => Tone::Warning,
        WorkflowStatus::Completed => Tone::Good,
        WorkflowStatus::Failed => Tone::Bad,
        WorkflowStatus::Stopped => Tone::Quiet,
    }
}

/// The status as a field of a table.
pub(super) fn cell(status: WorkflowStatus) -> Cell {
    Cell::toned(tone(status), status.as_str())
}

/// `order-17  probe_pipeline  gate  waiting for the signal approve`.
pub(super) fn sentence(record: &WorkflowRecord) -> String {
    let what = match waits_for(record) {
        Some(what) => format!("waiting for {what}"),
        None => record.status.to_string(),
    };
    format!(
        "{}  {}  {}  {}",
        paint(Tone::Strong, record.id.as_str()),
        record.definition,
        record.state,
        paint(tone(record.status), &what)
    )
}

/// What a waiting workflow waits for; `None` when it does not wait.
pub(super) fn waits_for(record: &WorkflowRecord) -> Option<String> {
    if record.status != WorkflowStatus::Waiting {
        return None;
    }
    let signals: Vec<&str> = record.waits_for().collect();
    if record.waits_for_children() && signals.is_empty() {
        return Some("its children".to_owned());
    }
    Some(
        match (signals.as_slice(), wakes_at(record), &record.error) {
            ([one], ..) => format!("the signal {one}"),
            ([_, ..], ..) => format!("one of the signals {}", signals.join(", ")),
            ([], Some(_), Some(_)) => format!("attempt {}", record.attempt.saturating_add(1)),
            ([], Some(_), None) => "its time".to_owned(),
            ([], None, _) => "somebody to move it on".to_owned(),
        },
    )
}

/// Whether it waits until somebody does something: a time alone passes by itself.
pub(super) fn needs_somebody(record: &WorkflowRecord) -> bool {
    let waits = record.status == WorkflowStatus::Waiting;
    let alone = record.waits_for().next().is_none();
    let by_itself = (wakes_at(record).is_some() && alone) || record.waits_for_children();
    record.status == WorkflowStatus::Parked || (waits && !by_itself)
}

/// When it goes on by itself, in Unix milliseconds by the server's clock.
pub(super) fn wakes_at(record: &WorkflowRecord) -> Option<u64> {
    let waits = record.status == WorkflowStatus::Waiting;
    let wake = record.wake_in_ms.filter(|_| waits)?;
    Some(record.updated_at.saturating_add(wake))
}

/// `2026-… (in 5m)`; `now` is of the server, too.
pub(super) fn moment(at_ms: u64, now_ms: u64) -> String {
    match at_ms.checked_sub(now_ms) {
        Some(left @ 1..) => format!("{} (in {})", utc(at_ms), age(Duration::from_millis(left))),
        _ => format!("{} (due)", utc(at_ms)),
    }
}

/// How long a stay in a state was: steps of seconds are worth a decimal.
pub(super) fn stay(span: Duration) -> String {
    match span.as_secs() {
        1..60 => format!("{:.1}s", span.as_secs_f64()),
        _ => age(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::workflow::path::tests::record;
    use serde_json::json;

    #[test]
    fn what_is_waited_for_is_said() {
        let check = |fields, expected: Option<&str>, somebody: bool| {
            let record = record(fields);
            assert_eq!(waits_for(&record).as_deref(), expected, "{record:?}");
            assert_eq!(needs_somebody(&record), somebody, "{record:?}");
        };
        check(json!({ "status": "running", "wake_in_ms": 5 }), None, false);
        check(json!({ "status": "parked" }), None, true);
        check(
            json!({ "status": "waiting", "wait": { "signals": ["approve"] }, "wake_in_ms": 5 }),
            Some("the signal approve"),
            true,
        );
        check(
            json!({ "status": "waiting", "wait": { "signals": ["yes", "no"] } }),
            Some("one of the signals yes, no"),
            true,
        );
        check(
            json!({ "status": "waiting", "wake_in_ms": 5 }),
            Some("its time"),
            false,
        );
        let error = json!({ "code": "X", "category": "TEMPORARY", "recovery_strategy": "RETRY" });
        check(
            json!({ "status": "waiting", "wake_in_ms": 5, "attempt": 2, "error": error }),
            Some("attempt 3"),
            false,
        );
        check(
            json!({ "status": "waiting", "wait": { "children": "all" } }),
            Some("its children"),
            false,
        );
        check(
            json!({ "status": "waiting" }),
            Some("somebody to move it on"),
            true,
        );
    }

    #[test]
    fn moments_say_how_far_off_they_are() {
        assert_eq!(moment(65_000, 5_000), "1970-01-01 00:01:05.000Z (in 1m)");
        assert_eq!(moment(5_000, 65_000), "1970-01-01 00:00:05.000Z (due)");
    }
}
