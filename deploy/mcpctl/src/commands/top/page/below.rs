//! What stands below the table: versions, breakers, workflows.

use std::{collections::BTreeSet, iter, time::Duration};

use mcp_agent_sdk::WorkflowStatus;

use crate::{
    commands::{
        breakers::state_in_words,
        top::{
            board::{Board, Breaker},
            workflows::Definition,
        },
        workflow::tone,
    },
    output::{Line, Tone, age},
};

/// The sections in at most so many lines; of what does not fit, each says how much there is.
pub(super) fn sections(board: &Board, room: usize) -> Vec<Line> {
    let sections = [
        versions(board),
        section("BREAKERS NOT CLOSED", board.breakers.iter().map(breaker)),
        section("WORKFLOWS", board.workflows.iter().map(definition)),
    ];
    let mut left = room;
    let mut lines = Vec::new();
    let mut others = sections
        .iter()
        .filter(|section| !section.is_empty())
        .count();
    for section in sections {
        if section.is_empty() {
            continue;
        }
        // Each has its share; what one does not need, the next may have.
        let share = left / others.max(1);
        others -= 1;
        let section = fitted(section, share);
        left -= section.len();
        lines.extend(section);
    }
    lines
}

fn fitted(mut section: Vec<Line>, room: usize) -> Vec<Line> {
    if section.len() > room {
        let hidden = section.len() - room + 1;
        section.truncate(room.saturating_sub(1));
        if room > 0 {
            section.push(Line::toned(Tone::Quiet, format!("… {hidden} lines more")));
        }
    }
    section
}

/// An empty line, a title, and the rest; nothing where there is nothing.
fn section(title: &str, rows: impl Iterator<Item = Line>) -> Vec<Line> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Vec::new();
    }
    let head = [Line::default(), Line::toned(Tone::Quiet, title)];
    head.into_iter().chain(rows).collect()
}

fn versions(board: &Board) -> Vec<Line> {
    let remark = |(agent, versions): (&String, &BTreeSet<String>)| {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let text = format!(
            "`{agent}` runs in several versions: {}",
            versions.join(", ")
        );
        Line::toned(Tone::Warning, text)
    };
    let remarks: Vec<Line> = board.several_versions.iter().map(remark).collect();
    match remarks.is_empty() {
        true => remarks,
        false => iter::once(Line::default()).chain(remarks).collect(),
    }
}

fn breaker(breaker: &Breaker) -> Line {
    let status = &breaker.status;
    let (tone, state) = state_in_words(status);
    let whom = match &status.action {
        Some(action) => format!("{}.{action}", status.target),
        None => status.target.clone(),
    };
    let left = status.open_ms_left.map(Duration::from_millis);
    let left = left.map(|left| format!(", {} left", age(left)));
    Line::of(format!(
        "{} ({}) -> {whom}  ",
        breaker.agent, breaker.instance
    ))
    .then_toned(tone, state)
    .then(left.unwrap_or_default())
    .then(format!(", {} of {} failed", status.failures, status.calls))
}

fn definition(workflows: &Definition) -> Line {
    let mut line = Line::toned(Tone::Strong, format!("{:16}", workflows.definition));
    if workflows.starting > 0 {
        line = line.then(format!("  {} starting", workflows.starting));
    }
    for status in WorkflowStatus::ALL {
        if let Some(count) = workflows.statuses.get(status.as_str()) {
            line = line.then_toned(tone(status), format!("  {count} {status}"));
        }
    }
    let states = workflows.states.iter();
    let states: Vec<String> = states
        .map(|(state, count)| format!("{state} {count}"))
        .collect();
    match states.is_empty() {
        true => line,
        false => line.then_toned(Tone::Quiet, format!("  in: {}", states.join(", "))),
    }
}
