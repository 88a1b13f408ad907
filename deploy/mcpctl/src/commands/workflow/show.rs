//! `mcpctl workflow show`: one workflow, and the path it has taken.

use clap::Args;
use mcp_agent_sdk::{
    CommandProgress, CompensationProgress, WorkflowRecord, WorkflowStatus, Workflows,
    runtime::Token,
};

use super::{
    clock, path, status,
    target::{document, existing},
};
use crate::{
    answer::in_words,
    cli::Global,
    failure::Failure,
    output::{self, Tone, paint, utc},
};

/// Shows where a workflow stands, its data, and the path it has taken with the times.
///
/// With --json the document is the workflow's record, as PROTOCOL.md describes it.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workflow's id
    id: Token,
}

pub(super) async fn run(args: ShowArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let record = existing(&Workflows::new(&client), &args.id).await?;
    if global.json {
        output::json(&document(&record)?);
        return Ok(());
    }
    show(&record, clock::now_ms(&client).await?);
    Ok(())
}

/// Prints it for people; `now_ms` by the server's clock.
pub(super) fn show(record: &WorkflowRecord, now_ms: u64) {
    output::line(head(record, now_ms).join("\n"));
    output::line(paint(Tone::Quiet, "data"));
    match serde_json::to_value(&record.data) {
        Ok(data) => output::json(&data),
        Err(error) => output::line(format!("cannot be shown as JSON: {error}")),
    }
    output::line(paint(Tone::Quiet, "path"));
    output::line(path::drawn(record, now_ms));
}

fn head(record: &WorkflowRecord, now_ms: u64) -> Vec<String> {
    let status = paint(status::tone(record.status), record.status.as_str());
    let mut lines = vec![
        format!("workflow    {}", paint(Tone::Strong, record.id.as_str())),
        format!(
            "definition  {}, version {}",
            record.definition, record.version
        ),
        format!("state       {}", record.state),
        format!("status      {status}{}", remark(record)),
        format!("entry       {}, attempt {}", record.entry, record.attempt),
        format!("created     {}", utc(record.created_at)),
        format!(
            "updated     {}, epoch {}",
            utc(record.updated_at),
            record.epoch
        ),
    ];
    let mut optional = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:<10}  {value}")));
    };
    let until = status::wakes_at(record).map(|at| status::moment(at, now_ms));
    let waits = status::waits_for(record).map(|what| match &until {
        Some(until) => format!("{what}, until {until}"),
        None => what,
    });
    optional("waits for", waits);
    optional(
        "error",
        record.error.as_ref().map(|error| in_words(error, 1)),
    );
    let kept = record.signals.iter();
    let kept: Vec<String> = kept
        .map(|signal| format!("{} (since {})", signal.name, utc(signal.at)))
        .collect();
    optional("signals", (!kept.is_empty()).then(|| kept.join(", ")));
    optional("progress", progress(record));
    optional("undone", undone(record));
    optional("children", children(record));
    let inbox = record.inbox.len();
    optional(
        "inbox",
        (inbox > 0).then(|| format!("{inbox} to be taken in after this state")),
    );
    optional("parent", record.parent.as_ref().map(ToString::to_string));
    optional("conversation", record.conversation_id.clone());
    lines
}

/// How far the parallel commands of the state have come, and which are not done.
fn progress(record: &WorkflowRecord) -> Option<String> {
    let all = &record.progress;
    let of = |progress: CommandProgress| {
        let labels = all.iter().filter(move |one| one.progress == progress);
        labels.map(|one| one.label.as_str()).collect::<Vec<_>>()
    };
    let mut text = format!("{} of {} done", of(CommandProgress::Done).len(), all.len());
    for (what, progress) in [
        ("running", CommandProgress::Running),
        ("failed", CommandProgress::Failed),
    ] {
        let labels = of(progress);
        if !labels.is_empty() {
            text += &format!("; {what}: {}", labels.join(", "));
        }
    }
    (!all.is_empty()).then_some(text)
}

/// How far the compensation has come; nothing where none has begun.
fn undone(record: &WorkflowRecord) -> Option<String> {
    let compensation = record.compensation.as_ref()?;
    let steps = &compensation.steps;
    let [done, failed] =
        [CompensationProgress::Done, CompensationProgress::Failed].map(|it| compensation.count(it));
    if done + failed == 0 && compensation.ends_as.is_none() {
        return None;
    }
    let mut text = format!("{done} of {}", steps.len());
    if let Some(step) = compensation.current() {
        text += &format!(", `{}` is being undone", step.state);
    }
    for step in steps
        .iter()
        .filter(|step| step.progress == CompensationProgress::Failed)
    {
        let code = step.error.as_ref().map_or("", |error| &error.code);
        text += &format!(", `{}` failed: {code}", step.state);
    }
    Some(text)
}

/// How many of its children are how far.
fn children(record: &WorkflowRecord) -> Option<String> {
    let total = record.children.len();
    let count = |status: Option<WorkflowStatus>| {
        let children = record.children.iter();
        children.filter(|child| child.status == status).count()
    };
    let ended = WorkflowStatus::ALL
        .into_iter()
        .filter(|status| status.is_ended());
    let ended = ended.map(|status| (status.as_str(), count(Some(status))));
    let all = std::iter::once(("under way", count(None))).chain(ended);
    let counts = all.filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    (total > 0).then(|| counts.join(", "))
}

/// What there is to say about the status.
fn remark(record: &WorkflowRecord) -> String {
    match (record.status, &record.stop_reason) {
        (WorkflowStatus::Parked, _) => match &record.park_reason {
            Some(reason) => format!(": {reason}"),
            None => format!(": no engine has version {}", record.version),
        },
        (_, Some(reason)) => format!(": {reason}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::path::tests::record, *};
    use serde_json::json;

    #[test]
    fn head_tells_what_is_waited_for_and_until_when() {
        let record = record(json!({
            "state": "gate", "status": "waiting", "wait": { "signals": ["approve"] }, "wake_in_ms": 60_000,
            "signals": [{ "name": "hurry", "at": 500 }], "updated_at": 5_000, "conversation_id": "c1",
        }));
        let head = head(&record, 35_000).join("\n");
        for line in [
            "definition  probe_pipeline, version 1",
            "status      waiting",
            "waits for   the signal approve, until 1970-01-01 00:01:05.000Z (in 30s)",
            "signals     hurry (since 1970-01-01 00:00:00.500Z)",
        ] {
            assert!(head.lines().any(|found| found == line), "{line}:\n{head}");
        }
    }

    #[test]
    fn head_tells_how_far_it_has_come() {
        let label = |label: &str, progress: &str| json!({ "label": label, "progress": progress });
        let step = |state: &str, progress: &str| json!({ "state": state, "entry": 1, "progress": progress });
        let child = |label: &str, status: Option<&str>| json!({ "id": label, "definition": "scene", "label": label, "status": status, "epoch": 0 });
        let record = record(json!({
            "progress": [label("sea", "done"), label("sky", "running"), label("sun", "failed")],
            "compensation": { "steps": [step("flight", "left"), step("hotel", "done")], "ends_as": "failed" },
            "children": [child("a", None), child("b", Some("completed")), child("c", Some("completed"))],
        }));
        let head = head(&record, 0).join("\n");
        for line in [
            "progress    1 of 3 done; running: sky; failed: sun",
            "undone      1 of 2, `flight` is being undone",
            "children    1 under way, 2 completed",
        ] {
            assert!(head.lines().any(|found| found == line), "{line}:\n{head}");
        }
    }

    #[test]
    fn head_tells_why_it_ended() {
        let error =
            json!({ "code": "GPU_BUSY", "category": "PERMANENT", "recovery_strategy": "ABORT" });
        let failed = record(json!({ "status": "failed", "error": error }));
        let shown = head(&failed, 0).join("\n");
        assert!(
            shown.contains("error       GPU_BUSY (permanent)"),
            "{shown}"
        );
        let stopped = record(json!({ "status": "stopped", "stop_reason": "too late" }));
        let shown = head(&stopped, 0).join("\n");
        assert!(shown.contains("status      stopped: too late"), "{shown}");
    }
}
