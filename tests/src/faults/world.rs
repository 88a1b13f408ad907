//! What is there when all is over: effects, outcomes, dead letters, records, what is still queued.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;

/// One line of the probe's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    pub(super) instance: String,
    pub(super) at_ms: u64,
}

/// Where a workflow has come to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Journey {
    pub(super) status: String,
    /// The state it is in.
    pub(super) state: String,
    /// Each change of state, in order.
    pub(super) changes: Vec<(String, String)>,
    /// Nothing waits in it and nobody drives it.
    pub(super) at_rest: bool,
}

/// What a fork from a checkpoint came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fork {
    pub(super) workflow: String,
    pub(super) ended_well: bool,
    pub(super) detail: String,
}

/// What a checker looks at beside the history.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct World {
    /// What took effect, by key.
    pub(super) effects: BTreeMap<String, Vec<Run>>,
    /// What was executed, by key.
    pub(super) runs: BTreeMap<String, Vec<Run>>,
    /// The keys of submitted commands whose outcome stands, and whether it is a result.
    pub(super) outcomes: BTreeMap<String, bool>,
    /// The keys of commands among the dead letters.
    pub(super) buried: BTreeSet<String>,
    /// Dead letters that were no commands.
    pub(super) rejected: usize,
    /// Commands that are still in their stream.
    pub(super) commands_left: u64,
    /// Tasks and timers of workflows that are still in theirs.
    pub(super) tasks_left: u64,
    pub(super) workflows: BTreeMap<String, Journey>,
    pub(super) forks: Vec<Fork>,
}

impl World {
    /// What the probes have written down, each time as a clock shows it that is right.
    pub(super) fn of_files(effects: &Path, clocks: &BTreeMap<String, i64>) -> Self {
        let mut runs = effects.as_os_str().to_owned();
        runs.push(".runs");
        Self {
            effects: lines(effects, clocks),
            runs: lines(Path::new(&runs), clocks),
            ..Self::default()
        }
    }
}

fn lines(path: &Path, clocks: &BTreeMap<String, i64>) -> BTreeMap<String, Vec<Run>> {
    let mut runs = BTreeMap::<String, Vec<Run>>::new();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        // A kill can leave half a line; it names nothing that could be counted.
        let [key, instance, at_ms] = words[..] else {
            continue;
        };
        let Ok(at_ms) = at_ms.parse::<u64>() else {
            continue;
        };
        let off = clocks.get(instance).copied().unwrap_or(0);
        runs.entry(key.to_owned()).or_default().push(Run {
            instance: instance.to_owned(),
            at_ms: at_ms.saturating_add_signed(-off),
        });
    }
    runs
}
