//! What has changed between two looks at a workflow.

use std::time::Duration;

use mcp_agent_sdk::{HistoryEntry, WorkflowRecord, WorkflowStatus};
use serde_json::{Value, json};

use super::status;
use crate::{
    answer::in_words,
    output::{Tone, paint, utc},
};

/// Something that a watcher is told.
#[derive(Debug)]
pub(super) enum Change<'a> {
    /// It was there when the watch began.
    Found,
    /// It went from one state to another, after so long in the first.
    Moved(&'a HistoryEntry, Option<Duration>),
    /// The status, the attempt or the error is another.
    Stands,
}

/// The changes since `before`, in their order.
pub(super) fn since<'a>(
    before: Option<&WorkflowRecord>,
    now: &'a WorkflowRecord,
) -> Vec<Change<'a>> {
    let Some(before) = before else {
        return vec![Change::Found];
    };
    let known = known(before, now);
    let mut changes: Vec<Change<'a>> = (known..now.history.len())
        .map(|number| Change::Moved(&now.history[number], stayed(now, number)))
        .collect();
    let stands = |record: &WorkflowRecord| {
        let error = record.error.as_ref().map(|error| error.code.clone());
        (record.status, record.attempt, record.entry, error)
    };
    // A change of state alone says that it runs.
    let only_moved = !changes.is_empty() && now.status == WorkflowStatus::Running;
    if stands(before) != stands(now) && !only_moved {
        changes.push(Change::Stands);
    }
    changes
}

/// How many entries of the history were there before. The oldest are forgotten, so the last known one is looked for.
fn known(before: &WorkflowRecord, now: &WorkflowRecord) -> usize {
    let Some(last) = before.history.last() else {
        return 0;
    };
    let entries = now.history.iter();
    // Twice the same change in the same millisecond is one to a person.
    entries
        .rev()
        .position(|entry| entry == last)
        .map_or(0, |from_end| now.history.len() - from_end)
}

/// How long it was in the state that the entry leaves.
fn stayed(record: &WorkflowRecord, number: usize) -> Option<Duration> {
    let entered = match number.checked_sub(1) {
        Some(previous) => record.history.get(previous)?.at,
        None => record.created_at,
    };
    let left = record.history.get(number)?.at;
    Some(Duration::from_millis(left.saturating_sub(entered)))
}

impl Change<'_> {
    /// A line for people.
    pub(super) fn in_words(&self, record: &WorkflowRecord) -> String {
        let (at, text) = match self {
            Self::Found => (record.updated_at, standing(record)),
            Self::Moved(entry, stayed) => {
                let stayed = stayed.map_or(String::new(), |stayed| {
                    format!(" after {}", status::stay(stayed))
                });
                let to = paint(Tone::Strong, entry.to.as_str());
                let text = format!("{} -> {to}  by {}{stayed}", entry.from, entry.trigger);
                (entry.at, text)
            }
            Self::Stands => (record.updated_at, standing(record)),
        };
        format!("{}  {text}", paint(Tone::Quiet, &utc(at)))
    }

    /// The one document of a line with `--json`.
    pub(super) fn document(&self, record: &WorkflowRecord) -> Value {
        let mut document = json!({
            "workflow_id": record.id, "definition": record.definition, "epoch": record.epoch, "state": record.state,
            "status": record.status, "attempt": record.attempt, "at": record.updated_at,
        });
        if let Self::Moved(entry, _) = self {
            document["from"] = json!(entry.from);
            document["to"] = json!(entry.to);
            document["trigger"] = json!(entry.trigger);
            document["at"] = json!(entry.at);
            return document;
        }
        let signals: Vec<&str> = record.waits_for().collect();
        if !signals.is_empty() {
            document["waits_for"] = json!(signals);
        }
        if let Some(at) = status::wakes_at(record) {
            document["wakes_at"] = json!(at);
        }
        if let Some(error) = &record.error {
            document["error"] = json!(error);
        }
        document
    }
}

/// `gate: waiting for the signal approve`, with the error if there is one.
fn standing(record: &WorkflowRecord) -> String {
    let mut what = match status::waits_for(record) {
        Some(what) => format!("waiting for {what}"),
        None => record.status.to_string(),
    };
    if record.status == WorkflowStatus::Running && record.attempt > 1 {
        what = format!("{what}, attempt {}", record.attempt);
    }
    let mut text = format!(
        "{}: {}",
        paint(Tone::Strong, record.state.as_str()),
        paint(status::tone(record.status), &what)
    );
    if let Some(reason) = &record.stop_reason {
        text = format!("{text}: {reason}");
    }
    if let Some(error) = &record.error {
        text = format!("{text} after {}", in_words(error, 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::path::tests::{came, record},
        *,
    };

    fn lines(before: Option<&WorkflowRecord>, now: &WorkflowRecord) -> Vec<String> {
        let changes = since(before, now);
        let lines = changes.iter().map(|change| change.in_words(now));
        // Without the time, which is in front.
        lines.map(|line| line[26..].to_owned()).collect()
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let started = record(json!({}));
        assert_eq!(lines(None, &started), ["first: running"]);
        assert!(lines(Some(&started), &started).is_empty());
        let history = json!([
            came("first", "second", "state", 120),
            came("second", "gate", "state", 2_120)
        ]);
        let waits = record(json!({
            "epoch": 4, "entry": 3, "state": "gate", "status": "waiting", "wait": { "signals": ["approve"] },
            "history": history,
        }));
        assert_eq!(
            lines(Some(&started), &waits),
            [
                "first -> second  by state after 120ms",
                "second -> gate  by state after 2.0s",
                "gate: waiting for the signal approve"
            ]
        );
    }

    #[test]
    fn retry_and_failure_are_told_with_the_error() {
        let error =
            json!({ "code": "GPU_BUSY", "category": "TEMPORARY", "recovery_strategy": "RETRY" });
        let started = record(json!({}));
        let retries = record(json!({ "status": "waiting", "wake_in_ms": 100, "error": error }));
        assert_eq!(
            lines(Some(&started), &retries),
            ["first: waiting for attempt 2 after GPU_BUSY (temporary)"]
        );
        let failed = record(json!({ "status": "failed", "attempt": 6, "error": error }));
        assert_eq!(
            lines(Some(&retries), &failed),
            ["first: failed after GPU_BUSY (temporary)"]
        );
        let [change] = &since(Some(&retries), &failed)[..] else {
            panic!("one change")
        };
        assert_eq!(change.document(&failed)["error"]["code"], "GPU_BUSY");
    }

    #[test]
    fn forgotten_entries_are_not_told_again() {
        let history: Vec<Value> = (0..128).map(|at| came("a", "b", "state", at)).collect();
        let before = record(json!({ "history": history }));
        let history: Vec<Value> = (3..131).map(|at| came("a", "b", "state", at)).collect();
        let now = record(json!({ "history": history }));
        assert_eq!(lines(Some(&before), &now).len(), 3);
    }
}
