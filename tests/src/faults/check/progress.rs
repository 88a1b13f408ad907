//! I5: soon after everything is whole again, something goes well.

use crate::faults::history::{Ending, History, Kind};

use super::{Invariant, Judged};

const SOON_MS: u64 = 30_000;

/// Without the leader of their stream, commands wait for the next one no longer than this.
const WITHOUT_LEADER_MS: u64 = 10_000;

/// What a kill of the leader is called in the history.
pub(in crate::faults) const LEADER_KILLED: &str = "kill of the leader";

pub(super) fn check(history: &History, judged: &mut Judged) {
    let mut good: Vec<u64> = history
        .operations
        .iter()
        .filter_map(|operation| match &operation.ended {
            Some((at_ms, Ending::Stored | Ending::Answered { .. })) => Some(*at_ms),
            _ => None,
        })
        .collect();
    good.sort_unstable();
    let (began, ended) = history.load_ms;
    for broken in &history.broken {
        let healed = broken.until_ms;
        // After the last operation there is nothing that could go well.
        let Some(next) = good.iter().find(|at| **at > healed) else {
            if healed + SOON_MS < ended {
                judged.breaks(
                    Invariant::I5,
                    format!("nothing went well after the end of `{}`", broken.what),
                );
            }
            continue;
        };
        let took = next - healed;
        judged.recovery_ms = judged.recovery_ms.max(took);
        if took > SOON_MS {
            judged.breaks(
                Invariant::I5,
                format!(
                    "{took} ms from the end of `{}` to the next success",
                    broken.what
                ),
            );
        }
    }
    without_leader(history, judged);
    if good.is_empty() && !history.operations.is_empty() {
        judged.breaks(Invariant::I5, "nothing ever went well".to_owned());
    }
    let within = good.iter().filter(|at| (began..=ended).contains(*at));
    let mut last = began;
    for at in within {
        judged.stall_ms = judged.stall_ms.max(at.saturating_sub(last));
        last = *at;
    }
}

/// Only what goes through the leader's stream counts.
fn without_leader(history: &History, judged: &mut Judged) {
    let commands = history.operations.iter().filter(|operation| {
        matches!(
            operation.kind,
            Kind::Command | Kind::Keyed | Kind::Submit | Kind::Failing
        )
    });
    let mut good: Vec<u64> = commands
        .filter_map(|operation| match &operation.ended {
            Some((at_ms, Ending::Stored | Ending::Answered { .. })) => Some(*at_ms),
            _ => None,
        })
        .collect();
    good.sort_unstable();
    for killed in history
        .broken
        .iter()
        .filter(|one| one.what == LEADER_KILLED)
    {
        let next = good.iter().find(|at| **at > killed.from_ms);
        let Some(stall) = next.map(|at| at - killed.from_ms) else {
            continue;
        };
        if stall > WITHOUT_LEADER_MS {
            let seen = format!("commands stood still for {stall} ms after a kill of their leader");
            judged.breaks(Invariant::I5, seen);
        }
    }
}
