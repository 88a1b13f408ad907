//! Whether I1 to I6 hold, decided from a history and what was left: pure, so that it can be shown to fail.

mod executions;
mod progress;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

pub(super) use progress::LEADER_KILLED;

use super::{
    history::{Ending, History, Kind, Operation},
    world::World,
};

/// The path of the probe's workflow.
const LINE: [(&str, &str); 4] = [
    ("first", "second"),
    ("second", "gate"),
    ("gate", "third"),
    ("third", "done"),
];

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No acknowledged command is lost.
    I1,
    /// One outcome per key, and no execution beyond one that no crash explains.
    I2,
    /// A workflow's transitions form one line.
    I3,
    /// Every checkpoint restores.
    I4,
    /// Progress within 30 s of healing.
    I5,
    /// Every command ends.
    I6,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// What was to hold.
    pub invariant: Invariant,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.seen)
    }
}

/// What a checker says.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) violations: Vec<Violation>,
    /// Acknowledged and gone.
    pub(super) lost: usize,
    /// Executed more than once; what no fault explains is also a violation.
    pub(super) doubled: usize,
    /// The longest from a healing to the next thing that went well.
    pub(super) recovery_ms: u64,
    /// The longest without anything that went well, while there was load.
    pub(super) stall_ms: u64,
}

impl Judged {
    fn breaks(&mut self, invariant: Invariant, seen: String) {
        self.violations.push(Violation { invariant, seen });
    }
}

/// Judges what happened.
pub(super) fn check(history: &History, world: &World) -> Judged {
    let mut judged = Judged::default();
    nothing_is_lost(history, world, &mut judged);
    one_outcome_each(history, &mut judged);
    executions::check(history, world, &mut judged);
    one_line_each(history, world, &mut judged);
    every_checkpoint_restores(history, world, &mut judged);
    progress::check(history, &mut judged);
    everything_ends(history, world, &mut judged);
    for (invariant, text) in &history.remarks {
        judged.breaks(named(invariant), text.clone());
    }
    judged
}

fn named(invariant: &str) -> Invariant {
    match invariant {
        "I1" => Invariant::I1,
        "I2" => Invariant::I2,
        "I3" => Invariant::I3,
        "I4" => Invariant::I4,
        "I5" => Invariant::I5,
        _ => Invariant::I6,
    }
}

/// I1: what was acknowledged has taken effect, or lies among the dead letters, where people find it.
fn nothing_is_lost(history: &History, world: &World, judged: &mut Judged) {
    for operation in &history.operations {
        let there = match (operation.kind, ending(operation)) {
            (Kind::Workflow, Some(Ending::Stored | Ending::Answered { .. })) => {
                world.workflows.contains_key(&operation.key)
            }
            (Kind::Command | Kind::Keyed, Some(Ending::Answered { .. })) => {
                world.effects.contains_key(&operation.key)
            }
            (Kind::Submit, Some(Ending::Stored)) => {
                world.effects.contains_key(&operation.key) || world.buried.contains(&operation.key)
            }
            (Kind::Failing, Some(Ending::Stored)) => {
                world.outcomes.contains_key(&operation.key) || world.buried.contains(&operation.key)
            }
            _ => true,
        };
        if !there {
            judged.lost += 1;
            judged.breaks(
                Invariant::I1,
                format!(
                    "{:?} `{}` was acknowledged and is gone",
                    operation.kind, operation.key
                ),
            );
        }
    }
}

/// I2: whoever asked under one key was told of one execution.
fn one_outcome_each(history: &History, judged: &mut Judged) {
    let mut told = BTreeMap::<&str, &str>::new();
    for operation in history
        .operations
        .iter()
        .filter(|one| one.kind == Kind::Keyed)
    {
        let Some(Ending::Answered { execution }) = ending(operation) else {
            continue;
        };
        let first = told.entry(&operation.key).or_insert(execution);
        if *first != execution {
            judged.breaks(
                Invariant::I2,
                format!(
                    "key `{}` has two outcomes: {first} and {execution}",
                    operation.key
                ),
            );
        }
    }
}

/// I3: each workflow went down its line once, and rests at its end.
fn one_line_each(history: &History, world: &World, judged: &mut Judged) {
    for (id, journey) in &world.workflows {
        let changes: Vec<(&str, &str)> = journey
            .changes
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        let so_far = changes.len().min(LINE.len());
        if changes != LINE[..so_far] {
            judged.breaks(Invariant::I3, format!("workflow `{id}` went {changes:?}"));
        } else if was_told_to_go_on(history, id)
            && (journey.status != "completed" || !journey.at_rest)
        {
            judged.breaks(
                Invariant::I3,
                format!(
                    "workflow `{id}` is {} in `{}`",
                    journey.status, journey.state
                ),
            );
        }
    }
}

fn was_told_to_go_on(history: &History, id: &str) -> bool {
    let asked = history
        .operations
        .iter()
        .find(|one| one.kind == Kind::Workflow && one.key == id);
    asked.is_some_and(|one| matches!(ending(one), Some(Ending::Answered { .. })))
}

/// I4: from each checkpoint that was kept, a fork came to its end.
fn every_checkpoint_restores(history: &History, world: &World, judged: &mut Judged) {
    for operation in history.operations.iter().filter(|one| one.kept) {
        let fork = world
            .forks
            .iter()
            .find(|fork| fork.workflow == operation.key);
        match fork {
            Some(fork) if fork.ended_well => {}
            Some(fork) => judged.breaks(
                Invariant::I4,
                format!("the checkpoint of `{}`: {}", operation.key, fork.detail),
            ),
            None => judged.breaks(
                Invariant::I4,
                format!("the checkpoint of `{}` was not tried", operation.key),
            ),
        }
    }
}

/// I6: nobody waits for ever, nothing is left in a queue that nobody empties, and what is no command is kept.
fn everything_ends(history: &History, world: &World, judged: &mut Judged) {
    for operation in &history.operations {
        match (operation.kind, ending(operation)) {
            (_, None) => judged.breaks(
                Invariant::I6,
                format!("{:?} `{}` never ended", operation.kind, operation.key),
            ),
            (Kind::Submit | Kind::Failing, Some(Ending::Stored))
                if !world.outcomes.contains_key(&operation.key) =>
            {
                judged.breaks(
                    Invariant::I6,
                    format!("`{}` was submitted and has no outcome", operation.key),
                );
            }
            _ => {}
        }
    }
    if world.commands_left > 0 {
        judged.breaks(
            Invariant::I6,
            format!("{} commands stay queued", world.commands_left),
        );
    }
    if world.tasks_left > 0 {
        judged.breaks(
            Invariant::I6,
            format!("{} tasks stay queued", world.tasks_left),
        );
    }
    let malformed = history
        .operations
        .iter()
        .filter(|one| one.kind == Kind::Malformed && ending(one) == Some(&Ending::Stored))
        .count();
    if world.rejected < malformed {
        judged.breaks(
            Invariant::I6,
            format!(
                "{malformed} malformed messages, {} dead letters of such",
                world.rejected
            ),
        );
    }
}

fn ending(operation: &Operation) -> Option<&Ending> {
    operation.ended.as_ref().map(|(_, ending)| ending)
}
