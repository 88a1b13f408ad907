//! I2: an execution beyond one needs a crash in the act, of whoever executed before.

use std::collections::BTreeMap;

use crate::faults::{
    history::{Broken, Ending, History, Kind},
    world::{Run, World},
};

use super::{Invariant, Judged};

/// A zombie that wakes may finish the step it was stopped in before it looks at its lease.
const LAST_STEP_MS: u64 = 2_000;

pub(super) fn check(history: &History, world: &World, judged: &mut Judged) {
    let answered = first_answers(history);
    for (key, runs) in &world.runs {
        let mut runs: Vec<&Run> = runs.iter().collect();
        runs.sort_by_key(|run| run.at_ms);
        judged.doubled += usize::from(runs.len() > 1);
        let pairs = runs.windows(2).map(|pair| (pair[0], pair[1]));
        for (before, after) in pairs {
            if !history
                .broken
                .iter()
                .any(|broken| explains(broken, before, after))
            {
                judged.breaks(
                    Invariant::I2,
                    format!("`{key}` ran at {} and again at {} with no crash between: {before:?} {after:?}", before.at_ms, after.at_ms),
                );
            }
        }
        let Some(answered_ms) = answered.get(key.as_str()) else {
            continue;
        };
        // A key stays done once somebody knows its outcome.
        for late in runs.iter().filter(|run| run.at_ms > *answered_ms) {
            if !history
                .broken
                .iter()
                .any(|broken| was_stopped(broken, late))
            {
                judged.breaks(
                    Invariant::I2,
                    format!(
                        "`{key}` was answered at {answered_ms} and ran again at {}",
                        late.at_ms
                    ),
                );
            }
        }
    }
    for (key, effects) in &world.effects {
        if effects.len() > 1 {
            judged.breaks(
                Invariant::I2,
                format!("`{key}` took effect {} times", effects.len()),
            );
        }
    }
}

fn first_answers(history: &History) -> BTreeMap<&str, u64> {
    let mut answered = BTreeMap::new();
    // Without a key, a reply whose acknowledgement is lost with its agent is followed by a second execution.
    for operation in history
        .operations
        .iter()
        .filter(|one| one.kind == Kind::Keyed)
    {
        if let Some((at_ms, Ending::Answered { .. })) = &operation.ended {
            let first = answered.entry(operation.key.as_str()).or_insert(*at_ms);
            *first = (*first).min(*at_ms);
        }
    }
    answered
}

/// Whoever executed before was hit after that and before the next, or the next is a zombie's last step.
fn explains(broken: &Broken, before: &Run, after: &Run) -> bool {
    let hit = broken
        .instance
        .as_ref()
        .is_none_or(|hit| *hit == before.instance);
    let in_the_act = broken.until_ms >= before.at_ms && broken.from_ms <= after.at_ms;
    (hit && in_the_act) || was_stopped(broken, after)
}

fn was_stopped(broken: &Broken, run: &Run) -> bool {
    broken.instance.as_ref() == Some(&run.instance)
        && broken.from_ms <= run.at_ms
        && run.at_ms <= broken.until_ms + LAST_STEP_MS
}
