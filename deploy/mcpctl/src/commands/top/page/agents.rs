//! The table: a row for each agent, or for each instance.

use std::{cmp::Reverse, time::Duration};

use mcp_agent_sdk::{InstanceState, Priority};

use super::{View, per_second};
use crate::{
    commands::top::{
        Sort,
        board::{Agent, Board, Instance},
    },
    output::{Line, Tone, age, brief},
};

/// A header and its rows.
pub(super) struct Rows {
    pub(super) header: Line,
    pub(super) rows: Vec<Line>,
}

/// The columns beside the names, with their widths; a space before each.
const FIGURES: [(&str, usize); 11] = [
    ("INST", 4),
    ("STATE", 8),
    ("LOAD", 7),
    ("CRIT", 4),
    ("HIGH", 4),
    ("NORM", 4),
    ("LOW", 4),
    ("WORK", 4),
    ("IN/S", 5),
    ("OUT/S", 5),
    ("DEAD", 4),
];

/// The narrowest column of names: with the figures just 80 columns.
const NAME: usize = 16;

pub(super) fn table(board: &Board, view: &View, now_ms: u64, width: usize) -> Rows {
    let agents = sorted(board, view.sort);
    let longest = agents.iter().map(|agent| agent.agent.chars().count()).max();
    let spare = width.saturating_sub(80);
    let name = longest.unwrap_or_default().clamp(NAME, NAME + spare);
    match view.instances {
        false => Rows {
            header: header(name),
            rows: agents.iter().map(|agent| row(agent, name)).collect(),
        },
        true => Rows {
            header: instance_header(name),
            rows: instances(&agents, name, now_ms),
        },
    }
}

fn sorted(board: &Board, sort: Sort) -> Vec<&Agent> {
    let mut agents: Vec<&Agent> = board.agents.iter().collect();
    // They come by name, and those that are the same stay so.
    match sort {
        Sort::Name => {}
        Sort::Load => agents.sort_by(|a, b| b.utilization().total_cmp(&a.utilization())),
        Sort::Queued => agents.sort_by_key(|agent| Reverse(agent.queued)),
        Sort::Rate => agents.sort_by(|a, b| b.settled_per_s.total_cmp(&a.settled_per_s)),
        Sort::Dead => agents.sort_by_key(|agent| Reverse(agent.dead_letters)),
    }
    agents
}

fn header(name: usize) -> Line {
    let mut text = padded("AGENT", name);
    for (title, width) in FIGURES {
        text += &match title {
            "STATE" => format!(" {title:width$}"),
            _ => format!(" {title:>width$}"),
        };
    }
    Line::toned(Tone::Quiet, text)
}

fn row(agent: &Agent, name: usize) -> Line {
    let (tone, state) = match agent.state {
        Some(state) => in_words(state),
        // Nobody is there: bad as soon as something waits.
        None if agent.queued + agent.in_work > 0 => (Tone::Bad, "away"),
        None => (Tone::Quiet, "away"),
    };
    let mut line = Line::toned(Tone::Strong, padded(&agent.agent, name))
        .then(format!(" {:>4} ", brief(agent.instances.len() as u64)))
        .then_toned(tone, format!("{state:8}"));
    line = match agent.capacity {
        0 => line.then(" ".repeat(8)),
        _ => line
            .then(" ")
            .then_toned(load_tone(agent.utilization()), load(agent.utilization())),
    };
    for priority in Priority::ALL {
        let queued = agent
            .lanes
            .get(priority.as_str())
            .map_or(0, |lane| lane.queued);
        line = count(line, queued, Tone::Warning);
    }
    line = count(line, agent.in_work, Tone::Strong);
    line = line.then(format!(
        " {:>5} {:>5}",
        per_second(agent.arriving_per_s),
        per_second(agent.settled_per_s)
    ));
    count(line, agent.dead_letters, Tone::Bad)
}

/// Nothing is quiet.
fn count(line: Line, count: u64, tone: Tone) -> Line {
    let tone = if count == 0 { Tone::Quiet } else { tone };
    line.then(" ")
        .then_toned(tone, format!("{:>4}", brief(count)))
}

/// Seven columns: how full, as a bar of two and in percent.
fn load(utilization: f64) -> String {
    const BAR: [&str; 5] = ["  ", "▌ ", "█ ", "█▌", "██"];
    let step = (utilization * 4.0).round().clamp(0.0, 4.0) as usize;
    format!("{} {:>3.0}%", BAR[step], utilization * 100.0)
}

fn load_tone(utilization: f64) -> Tone {
    match utilization {
        it if it >= 1.0 => Tone::Bad,
        it if it >= 0.8 => Tone::Warning,
        _ => Tone::Good,
    }
}

fn in_words(state: InstanceState) -> (Tone, &'static str) {
    match state {
        InstanceState::Starting => (Tone::Quiet, "starting"),
        InstanceState::Ready => (Tone::Good, "ready"),
        InstanceState::Busy => (Tone::Warning, "busy"),
        InstanceState::Draining => (Tone::Quiet, "draining"),
    }
}

/// Of a name that is too long, the beginning.
fn padded(name: &str, width: usize) -> String {
    let shown: String = name.chars().take(width).collect();
    format!("{shown:width$}")
}

fn instance_header(name: usize) -> Line {
    let text = format!(
        "{} {:20} {:9} {:8} {:>6} {:>7} {:>8}",
        padded("AGENT", name),
        "INSTANCE",
        "VERSION",
        "STATE",
        "LOAD",
        "WAIT95",
        "UP"
    );
    Line::toned(Tone::Quiet, text)
}

fn instances(agents: &[&Agent], name: usize, now_ms: u64) -> Vec<Line> {
    let mut rows = Vec::new();
    for agent in agents {
        let rows_of = agent.instances.iter();
        rows.extend(rows_of.map(|instance| instance_row(&agent.agent, instance, name, now_ms)));
    }
    rows
}

fn instance_row(agent: &str, instance: &Instance, name: usize, now_ms: u64) -> Line {
    let (tone, state) = in_words(instance.state);
    let wait = Duration::from_secs_f64((instance.queue_wait_p95_ms / 1_000.0).clamp(0.0, 1e9));
    let wait = match wait.as_millis() {
        0..100 => format!("{:.1}ms", instance.queue_wait_p95_ms),
        _ => age(wait),
    };
    let up = age(Duration::from_millis(
        now_ms.saturating_sub(instance.started_at),
    ));
    Line::toned(Tone::Strong, padded(agent, name))
        .then(format!(
            " {} {} ",
            padded(&instance.instance, 20),
            padded(&instance.version, 9)
        ))
        .then_toned(tone, format!("{state:8}"))
        .then_toned(
            load_tone(instance.utilization),
            format!(
                " {:>6}",
                format!("{}/{}", instance.in_flight, instance.capacity)
            ),
        )
        .then(format!(" {wait:>7} {up:>8}"))
}
