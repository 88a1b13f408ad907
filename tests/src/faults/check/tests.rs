//! A history that holds, and what becomes of it when one thing in it is wrong.

use super::*;
use crate::faults::{
    history::Broken,
    world::{Fork, Journey, Run},
};

fn run(instance: &str, at_ms: u64) -> Run {
    Run {
        instance: instance.to_owned(),
        at_ms,
    }
}

fn operation(kind: Kind, key: &str, ending: Ending) -> Operation {
    Operation {
        kind,
        key: key.to_owned(),
        kept: kind == Kind::Workflow,
        began_ms: 1_000,
        ended: Some((2_000, ending)),
    }
}

fn answered(execution: &str) -> Ending {
    Ending::Answered {
        execution: execution.to_owned(),
    }
}

fn journey(changes: &[(&str, &str)]) -> Journey {
    let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
    Journey {
        status: "completed".to_owned(),
        state: "done".to_owned(),
        changes: changes.iter().map(owned).collect(),
        at_rest: true,
    }
}

fn killed(instance: Option<&str>, from_ms: u64, until_ms: u64) -> Broken {
    Broken {
        what: "kill".to_owned(),
        instance: instance.map(str::to_owned),
        from_ms,
        until_ms,
    }
}

/// One of each kind, all as it should be.
fn sound() -> (History, World) {
    let history = History {
        operations: vec![
            operation(Kind::Command, "c", answered("a 1")),
            operation(Kind::Keyed, "k", answered("a 2")),
            operation(Kind::Keyed, "k", answered("a 2")),
            operation(Kind::Submit, "s", Ending::Stored),
            operation(Kind::Failing, "f", Ending::Stored),
            operation(Kind::Workflow, "w", answered("w")),
            operation(Kind::Malformed, "m", Ending::Stored),
        ],
        load_ms: (1_000, 3_000),
        ..History::default()
    };
    let mut world = World {
        rejected: 1,
        ..World::default()
    };
    for key in ["c", "k", "s", "w:first"] {
        world.effects.insert(key.to_owned(), vec![run("a", 1_500)]);
        world.runs.insert(key.to_owned(), vec![run("a", 1_500)]);
    }
    world.outcomes.insert("s".to_owned(), true);
    world.outcomes.insert("f".to_owned(), false);
    world.workflows.insert("w".to_owned(), journey(&LINE));
    world.forks.push(Fork {
        workflow: "w".to_owned(),
        ended_well: true,
        detail: String::new(),
    });
    (history, world)
}

/// What is broken when this is done to a sound history.
fn after(spoil: impl FnOnce(&mut History, &mut World)) -> Vec<Invariant> {
    let (mut history, mut world) = sound();
    spoil(&mut history, &mut world);
    let judged = check(&history, &world);
    let mut broken: Vec<Invariant> = judged.violations.iter().map(|one| one.invariant).collect();
    broken.sort();
    broken.dedup();
    broken
}

#[test]
fn a_sound_history_holds() {
    assert_eq!(after(|_, _| {}), []);
}

#[test]
fn what_was_acknowledged_and_is_gone_breaks_i1() {
    for key in ["c", "k", "s"] {
        assert_eq!(
            after(|_, world| drop(world.effects.remove(key))),
            [Invariant::I1],
            "{key}"
        );
    }
    assert_eq!(
        after(|_, world| {
            world.workflows.clear();
        }),
        [Invariant::I1]
    );
    let buried = after(|_, world| {
        world.effects.remove("s");
        world.buried.insert("s".to_owned());
    });
    assert_eq!(buried, [], "a dead letter is not lost");
}

#[test]
fn what_nobody_acknowledged_may_be_gone() {
    let unknown = || Ending::Unknown {
        code: "TIMEOUT".to_owned(),
    };
    let spoilt = after(|history, world| {
        history.operations[0].ended = Some((2_000, unknown()));
        history.operations[3].ended = Some((2_000, unknown()));
        world.effects.remove("c");
        world.effects.remove("s");
    });
    assert_eq!(spoilt, []);
}

#[test]
fn two_outcomes_of_one_key_break_i2() {
    let spoilt = after(|history, _| history.operations[2].ended = Some((2_000, answered("b 3"))));
    assert_eq!(spoilt, [Invariant::I2]);
}

#[test]
fn a_second_execution_needs_a_crash_in_the_act() {
    let again = |broken: Vec<Broken>| {
        after(|history, world| {
            history.broken = broken;
            let runs = world.runs.get_mut("s").expect("it ran");
            runs.push(run("b", 12_000));
        })
    };
    assert_eq!(again(vec![]), [Invariant::I2]);
    assert_eq!(again(vec![killed(Some("a"), 1_600, 1_600)]), []);
    assert_eq!(again(vec![killed(None, 1_400, 1_600)]), []);
    assert_eq!(
        again(vec![killed(Some("b"), 1_600, 1_600)]),
        [Invariant::I2]
    );
    assert_eq!(
        again(vec![killed(Some("a"), 1_000, 1_400)]),
        [Invariant::I2]
    );
}

#[test]
fn an_execution_after_the_answer_breaks_i2_although_somebody_was_killed() {
    let late = |broken: Broken| {
        after(|history, world| {
            history.broken = vec![broken];
            let runs = world.runs.get_mut("k").expect("it ran");
            runs.push(run("b", 2_500));
        })
    };
    assert_eq!(late(killed(Some("a"), 1_600, 1_600)), [Invariant::I2]);
    // But a zombie's last step is one that had begun.
    assert_eq!(late(killed(Some("b"), 1_400, 2_400)), []);
}

#[test]
fn two_effects_of_one_key_break_i2() {
    let spoilt = after(|_, world| {
        let effects = world.effects.get_mut("k").expect("it took effect");
        effects.push(run("b", 1_600));
    });
    assert_eq!(spoilt, [Invariant::I2]);
}

#[test]
fn a_workflow_that_leaves_its_line_or_stays_on_it_breaks_i3() {
    for changes in [
        vec![("first", "second"), ("first", "second")],
        vec![("first", "gate")],
        vec![
            ("first", "second"),
            ("second", "gate"),
            ("gate", "third"),
            ("third", "done"),
            ("third", "done"),
        ],
    ] {
        let spoilt = after(|_, world| {
            world.workflows.insert("w".to_owned(), journey(&changes));
        });
        assert_eq!(spoilt, [Invariant::I3], "{changes:?}");
    }
    let stuck = after(|_, world| {
        let journey = world.workflows.get_mut("w").expect("it is there");
        (journey.status, journey.state) = ("waiting".to_owned(), "gate".to_owned());
        journey.changes.truncate(2);
    });
    assert_eq!(stuck, [Invariant::I3]);
}

#[test]
fn a_checkpoint_that_does_not_restore_breaks_i4() {
    assert_eq!(
        after(|_, world| world.forks[0].ended_well = false),
        [Invariant::I4]
    );
    assert_eq!(after(|_, world| world.forks.clear()), [Invariant::I4]);
}

#[test]
fn a_long_silence_after_healing_breaks_i5() {
    let silence = |next_ms: u64| {
        after(|history, _| {
            history.broken = vec![killed(None, 5_000, 6_000)];
            history.load_ms = (1_000, 60_000);
            let late = operation(Kind::Malformed, "m", Ending::Stored);
            history.operations.push(Operation {
                ended: Some((
                    next_ms,
                    Ending::Unknown {
                        code: String::new(),
                    },
                )),
                ..late.clone()
            });
            if next_ms > 0 {
                let ended = Some((next_ms, answered("a 2")));
                history.operations[1].ended = ended;
            }
        })
    };
    assert_eq!(silence(20_000), []);
    assert_eq!(silence(36_001), [Invariant::I5]);
    assert_eq!(silence(0), [Invariant::I5]);
}

#[test]
fn what_never_ends_breaks_i6() {
    assert_eq!(
        after(|history, _| history.operations[0].ended = None),
        [Invariant::I6]
    );
    assert_eq!(after(|_, world| world.commands_left = 1), [Invariant::I6]);
    assert_eq!(after(|_, world| world.tasks_left = 1), [Invariant::I6]);
    assert_eq!(after(|_, world| world.rejected = 0), [Invariant::I6]);
    assert_eq!(
        after(|_, world| {
            world.outcomes.remove("s");
        }),
        [Invariant::I6]
    );
    // What fails for good and leaves neither outcome nor dead letter has vanished.
    assert_eq!(
        after(|_, world| world.outcomes.clear()),
        [Invariant::I1, Invariant::I6]
    );
}

#[test]
fn what_a_cell_saw_itself_counts() {
    let spoilt = after(|history, _| history.remarks.push(("I6", "an agent died".to_owned())));
    assert_eq!(spoilt, [Invariant::I6]);
}

#[test]
fn stalls_and_recoveries_are_measured() {
    let (mut history, world) = sound();
    history.broken = vec![killed(None, 1_200, 1_300)];
    let judged = check(&history, &world);
    assert_eq!((judged.recovery_ms, judged.stall_ms), (700, 1_000));
}
