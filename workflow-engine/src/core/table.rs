//! Every pair of what a workflow is doing and what it is told, and every end of a state's run: one row each.

use std::time::Duration;

use mcp_runtime::{McpError, Raw, Token, code};

use super::{
    Migrated, Need, Next, Outcome, Ran, Supplies,
    advance::advance,
    apply::{Applied, apply},
    codes,
    draft::{Author, Draft},
    simulation::{name, state},
    started,
};
use crate::{
    checkpoint::WorkflowCheckpoint,
    record::{Compensation, Driver, Wait, WorkflowRecord, WorkflowStatus},
    shape::{StateKind, StateRetry, StateShape, WorkflowEvents, WorkflowShape},
    task::{Task, Verb},
};

/// `work` fails to `rescue`, `other` to nowhere; both lead to each other.
fn shape() -> WorkflowShape {
    let quick = StateRetry::times(1).delay(Duration::from_millis(10));
    let slow = StateRetry::times(1).delay(Duration::from_secs(9));
    WorkflowShape {
        name: name("trial"),
        version: "1".to_owned(),
        initial: name("work"),
        states: vec![
            StateShape {
                on_error: Some(name("rescue")),
                retry: quick,
                ..state("work", StateKind::Work, &["other", "rescue", "done"])
            },
            StateShape {
                retry: slow,
                completes: true,
                ..state("other", StateKind::Work, &["work"])
            },
            state("rescue", StateKind::Manual, &["work"]),
            state("done", StateKind::Final, &[]),
        ],
        on_error: None,
        events: WorkflowEvents::All,
        indexes: Vec::new(),
        migrates_from: Vec::new(),
    }
}

fn task(verb: Verb) -> Task {
    let mut task = Task::new(verb, name("trial"), Token::new("w").unwrap(), 1);
    task.id = "now".to_owned();
    task.to = Some(name("other"));
    task.name = Some(name("go"));
    // A `wake` with a version is for what is parked for want of it.
    task.version = (verb != Verb::Wake).then(|| "2".to_owned());
    task.entry = Some(1);
    task
}

/// What a workflow is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Running,
    /// For the signal `go`, or until a time.
    Waiting,
    Retrying,
    Parked,
    Completed,
    Failed,
    Stopped,
    /// It has failed, and `other` is being undone.
    Compensating,
}

fn record(phase: Phase) -> WorkflowRecord {
    let start = task(Verb::Start);
    let start = Task {
        version: None,
        id: "start".to_owned(),
        ..start
    };
    let mut record = started(&start, &vec![shape().into()], None, 1).unwrap();
    record.epoch = 1;
    let driver = Driver {
        task: "start".to_owned(),
        delivery: 1,
    };
    let wait = Wait {
        until: Some(9_000),
        ..Wait::default()
    };
    (record.status, record.driver, record.wait) = match phase {
        Phase::Running => (WorkflowStatus::Running, Some(driver), None),
        Phase::Waiting => {
            let signals = vec![name("go")];
            (
                WorkflowStatus::Waiting,
                None,
                Some(Wait { signals, ..wait }),
            )
        }
        Phase::Retrying => {
            record.attempt = 2;
            (
                WorkflowStatus::Waiting,
                None,
                Some(Wait {
                    retry: true,
                    ..wait
                }),
            )
        }
        Phase::Parked => (WorkflowStatus::Parked, None, None),
        Phase::Completed => (WorkflowStatus::Completed, None, None),
        Phase::Failed => (WorkflowStatus::Failed, None, None),
        Phase::Stopped => (WorkflowStatus::Stopped, None, None),
        Phase::Compensating => {
            let mut compensation = Compensation::default();
            compensation.push(name("other"), 1);
            compensation.ends_as = Some(WorkflowStatus::Failed);
            record.compensation = Some(compensation);
            (WorkflowStatus::Running, Some(driver), None)
        }
    };
    record
}

/// What comes of a task: `status`, or the code of the refusal, or `-` where nothing happens; and the state.
fn outcome(phase: Phase, task: &Task, has_checkpoint: bool) -> String {
    outcome_by(&shape(), phase, task, has_checkpoint)
}

/// The same where the engine has this version of the definition for the task.
fn outcome_by(shape: &WorkflowShape, phase: Phase, task: &Task, has_checkpoint: bool) -> String {
    let record = record(phase);
    let copy = WorkflowCheckpoint::of(&record, &name("go"), 1);
    let checkpoint = has_checkpoint.then(|| WorkflowCheckpoint {
        state: name("other"),
        ..copy
    });
    let supplies = Supplies {
        checkpoints: vec![(name("go"), checkpoint)],
        ..Supplies::default()
    };
    let mut draft = Draft::open(record, shape, 5_000);
    match apply(&mut draft, task, &supplies).unwrap() {
        Applied::Rejected(error) => error.code,
        Applied::Ignored => "-".to_owned(),
        Applied::Done => {
            let driver = Driver {
                task: task.id.clone(),
                delivery: 1,
            };
            let record = draft.close(&Author {
                driver,
                confirmed: Default::default(),
            });
            format!("{} {}", record.status, record.state)
        }
    }
}

#[test]
fn every_task_has_its_outcome_in_every_phase() {
    use Phase::{Compensating, Completed, Failed, Parked, Retrying, Running, Stopped, Waiting};
    const ENDED: &str = codes::WORKFLOW_ENDED;
    const MISMATCH: &str = codes::STATE_MISMATCH;
    let phases = [
        Running,
        Waiting,
        Retrying,
        Parked,
        Completed,
        Failed,
        Stopped,
        Compensating,
    ];
    let check = |verb: Verb, expected: [&str; 8]| {
        for (phase, expected) in phases.into_iter().zip(expected) {
            assert_eq!(
                outcome(phase, &task(verb), true),
                expected,
                "{verb:?} while {phase:?}"
            );
        }
    };
    let (run, on) = ("running work", "running other");
    let done = ["completed work", "failed work", "stopped work"];
    let stopped = "stopped work";
    check(Verb::Start, ["-"; 8]);
    check(
        Verb::Transition,
        [on, on, on, on, ENDED, ENDED, ENDED, ENDED],
    );
    check(
        Verb::Signal,
        [run, run, "waiting work", run, ENDED, ENDED, ENDED, ENDED],
    );
    check(Verb::Wake, ["-", run, run, "-", "-", "-", "-", "-"]);
    check(
        Verb::Stop,
        [
            stopped, stopped, stopped, stopped, ENDED, ENDED, ENDED, stopped,
        ],
    );
    check(
        Verb::Resume,
        [MISMATCH, MISMATCH, run, run, ENDED, run, ENDED, MISMATCH],
    );
    check(Verb::Migrate, [MISMATCH; 8]);
    check(Verb::Restore, [on, on, on, on, on, on, on, MISMATCH]);
    let same = [
        run,
        "waiting work",
        "waiting work",
        run,
        done[0],
        done[1],
        done[2],
        run,
    ];
    check(Verb::Checkpoint, same);
    check(Verb::DeleteCheckpoint, same);

    // The same for a migration, where its version is there: a failed workflow still waits for a resume.
    let mut newer = shape();
    newer.version = "2".to_owned();
    let moved = [run, run, run, run, ENDED, done[1], ENDED, run];
    for (phase, expected) in phases.into_iter().zip(moved) {
        let found = outcome_by(&newer, phase, &task(Verb::Migrate), false);
        assert_eq!(found, expected, "migrated while {phase:?}");
    }
}

#[test]
fn a_checkpoint_of_an_earlier_version_is_migrated_before_it_is_restored() {
    let mut shape = shape();
    (shape.version, shape.migrates_from) = ("2".to_owned(), vec!["1".to_owned()]);
    let mut record = record(Phase::Running);
    let checkpoint = WorkflowCheckpoint::of(&record, &name("go"), 1);
    record.version = "2".to_owned();
    let mut supplies = Supplies {
        checkpoints: vec![(name("go"), Some(checkpoint))],
        ..Supplies::default()
    };
    let mut draft = Draft::open(record, &shape, 5_000);
    let need = apply(&mut draft, &task(Verb::Restore), &supplies).unwrap_err();
    let Need::Migration { former, to } = need else {
        panic!("{need:?}")
    };
    assert_eq!((former.version.as_str(), to.as_str()), ("1", "2"));
    let migrated = Migrated {
        state: name("other"),
        data: Raw::encode(&8).unwrap(),
    };
    supplies.migrated = Some((*former, Ok(migrated)));
    let applied = apply(&mut draft, &task(Verb::Restore), &supplies).unwrap();
    assert!(matches!(applied, Applied::Done), "{applied:?}");
    assert_eq!(draft.record.state, name("other"));
    assert_eq!(draft.record.data::<u32>().unwrap(), 8);
}

#[test]
fn tasks_are_refused_with_a_code_that_says_why() {
    let check = |verb: Verb, change: fn(&mut Task), expected: &str| {
        let mut task = task(verb);
        change(&mut task);
        assert_eq!(outcome(Phase::Waiting, &task, false), expected, "{task:?}");
    };
    let nowhere = |task: &mut Task| task.to = Some(name("nowhere"));
    let itself = |task: &mut Task| task.to = Some(name("work"));
    let expects = |task: &mut Task| task.expected_state = Some(name("done"));
    let as_expected = |task: &mut Task| task.expected_state = Some(name("work"));
    let other = |task: &mut Task| task.name = Some(name("other"));
    let attempt = |task: &mut Task| task.attempt = Some(2);
    let entry = |task: &mut Task| task.entry = Some(7);
    let version = |task: &mut Task| task.version = Some("1".to_owned());
    check(Verb::Transition, nowhere, codes::NO_SUCH_STATE);
    check(Verb::Transition, itself, codes::ILLEGAL_TRANSITION);
    check(Verb::Transition, expects, codes::STATE_MISMATCH);
    check(Verb::Transition, as_expected, "running other");
    check(Verb::Restore, |_| {}, codes::NO_SUCH_CHECKPOINT);
    check(Verb::DeleteCheckpoint, |_| {}, codes::NO_SUCH_CHECKPOINT);
    check(Verb::Signal, other, "waiting work");
    check(Verb::Wake, attempt, "-");
    check(Verb::Wake, entry, "-");
    check(Verb::Migrate, version, "-");
}

/// What comes of a run of `state`: the status, the state and the attempt; and whether it is slept for.
fn after(called: &str, attempt: u32, ended: Result<Next, McpError>) -> String {
    let shape = shape();
    let mut record = record(Phase::Running);
    (record.state, record.attempt) = (name(called), attempt);
    let driver = record.driver.clone().unwrap();
    let mut draft = Draft::open(record, &shape, 5_000);
    let outcome = ended.map(|next| Outcome {
        data: Some(Raw::encode(&7).unwrap()),
        next,
    });
    let slept = advance(
        &mut draft,
        &Ran {
            entered: true,
            outcome,
            children: Vec::new(),
            draw: 0.5,
        },
    );
    let record = draft.close(&Author {
        driver,
        confirmed: Default::default(),
    });
    let slept = if slept.is_some() { " slept" } else { "" };
    let error = record
        .error
        .map(|error| format!(" {}", error.code))
        .unwrap_or_default();
    format!(
        "{} {} {}{slept}{error}",
        record.status, record.state, record.attempt
    )
}

#[test]
fn every_end_of_a_run_has_its_outcome() {
    let check = |called: &str, attempt: u32, ended: Result<Next, McpError>, expected: &str| {
        let text = format!("{called} {attempt} {ended:?}");
        assert_eq!(after(called, attempt, ended), expected, "{text}");
    };
    let busy = || Err(McpError::temporary("BUSY"));
    let broken = || Err(McpError::permanent("BROKEN"));
    let wait = |within| Next::Wait {
        signals: vec![name("go")],
        children: None,
        within,
    };
    let later = |to| Next::After {
        delay: Duration::from_secs(1),
        to,
    };
    check("work", 1, Ok(Next::To(name("other"))), "running other 1");
    check("work", 1, Ok(Next::To(name("done"))), "completed done 1");
    check("work", 1, Ok(Next::To(name("rescue"))), "waiting rescue 1");
    check(
        "work",
        1,
        Ok(Next::To(name("nowhere"))),
        "waiting rescue 1 ILLEGAL_TRANSITION",
    );
    check(
        "other",
        1,
        Ok(Next::To(name("done"))),
        "failed other 1 ILLEGAL_TRANSITION",
    );
    check("work", 2, Ok(Next::Stay), "waiting work 2");
    check("work", 2, Ok(wait(None)), "waiting work 2");
    check(
        "work",
        2,
        Ok(wait(Some(Duration::from_secs(1)))),
        "waiting work 2",
    );
    check("work", 1, Ok(later(None)), "waiting work 1");
    check("work", 1, Ok(later(Some(name("other")))), "waiting work 1");
    check(
        "other",
        1,
        Ok(later(Some(name("done")))),
        "failed other 1 ILLEGAL_TRANSITION",
    );
    check("other", 1, Ok(Next::Complete), "completed other 1");
    check(
        "work",
        1,
        Ok(Next::Complete),
        "waiting rescue 1 ILLEGAL_TRANSITION",
    );
    check(
        "work",
        1,
        Ok(Next::Fail(McpError::temporary("NO"))),
        "waiting rescue 1 NO",
    );
    check(
        "other",
        1,
        Ok(Next::Fail(McpError::temporary("NO"))),
        "failed other 1 NO",
    );
    check("work", 1, busy(), "running work 2 slept BUSY");
    check("work", 2, busy(), "waiting rescue 1 BUSY");
    check("other", 1, busy(), "waiting other 2 BUSY");
    check("other", 2, busy(), "failed other 2 BUSY");
    check("work", 1, broken(), "waiting rescue 1 BROKEN");
    check("other", 1, broken(), "failed other 1 BROKEN");
    check(
        "nowhere",
        1,
        Ok(Next::Stay),
        "failed nowhere 1 NO_SUCH_STATE",
    );
}

#[test]
fn more_signals_than_anybody_looks_at_are_refused() {
    let shape = shape();
    let mut draft = Draft::open(record(Phase::Running), &shape, 5_000);
    let signal = task(Verb::Signal);
    let kept = (0..1_000).take_while(|_| {
        let applied = apply(&mut draft, &signal, &Supplies::default()).unwrap();
        !matches!(applied, Applied::Rejected(error) if error.code == code::OVERLOADED)
    });
    assert_eq!(kept.count(), 256);
    assert_eq!(draft.record.signals.len(), 256);
}

#[test]
fn remembered_tasks_and_effects_are_bounded() {
    let shape = shape();
    let mut record = record(Phase::Running);
    for number in 0..1_000 {
        let to = if number % 2 == 0 { "other" } else { "work" };
        let driver = Driver {
            task: format!("t{number}"),
            delivery: 1,
        };
        let mut draft = Draft::open(record, &shape, 5_000);
        draft.enter(&name(to), "transition");
        draft.taken(&driver.task);
        record = draft.close(&Author {
            driver,
            confirmed: Default::default(),
        });
        assert!(record.taken.len() <= crate::record::MAX_TAKEN);
        assert!(record.history.len() <= crate::record::MAX_HISTORY);
        assert!(record.pending.len() <= crate::effect::MAX_PENDING + 1);
    }
    assert_eq!(record.taken.last().unwrap(), "t999");
    assert_eq!(record.history.last().unwrap().to, record.state);
}
