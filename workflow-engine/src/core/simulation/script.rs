//! The definition that is simulated, and what its handlers decide.

use std::{sync::Arc, time::Duration};

use mcp_runtime::{McpError, Name, Raw, Token};

use crate::{
    core::{
        Former, Migrated,
        advance::{Next, Outcome, Ran},
    },
    record::{ChildStart, ChildWait, CommandProgress, LabelProgress, WorkflowRecord},
    shape::{StateKind, StateRetry, StateShape, WorkflowEvents, WorkflowShape},
};

use super::Dice;

/// After so many entries every handler leads to the end.
const LONG_ENOUGH: u64 = 14;

pub(in crate::core) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A state that leads to those named.
pub(in crate::core) fn state(called: &str, kind: StateKind, to: &[&str]) -> StateShape {
    StateShape {
        name: name(called),
        kind,
        transitions: to.iter().map(|to| name(to)).collect(),
        completes: false,
        on_enter: false,
        on_exit: false,
        checkpoint: false,
        retry: StateRetry::times(2).delay(Duration::from_millis(200)),
        timeout_ms: None,
        on_error: None,
        compensation: None,
        signal: None,
        children: None,
        then: None,
        within_ms: None,
        or_else: None,
    }
}

/// Work with hooks, an automatic checkpoint, a gate with a deadline, a state that people leave, and a way out.
pub(super) fn shape(version: &str, events: WorkflowEvents) -> Arc<WorkflowShape> {
    let states = vec![
        state("a", StateKind::Work, &["b", "gate", "done"]),
        StateShape {
            checkpoint: true,
            on_exit: true,
            compensation: Some(StateRetry::times(2).delay(Duration::from_millis(200))),
            ..state("b", StateKind::Work, &["c", "gate", "done"])
        },
        StateShape {
            signal: Some(name("go")),
            then: Some(name("c")),
            within_ms: Some(5_000),
            or_else: Some(name("b")),
            ..state("gate", StateKind::Wait, &["b", "c"])
        },
        StateShape {
            on_enter: true,
            completes: true,
            on_error: Some(name("oops")),
            retry: StateRetry::times(2).delay(Duration::from_secs(3)),
            compensation: Some(StateRetry::times(3).delay(Duration::from_secs(3))),
            ..state("c", StateKind::Work, &["a", "b", "hold", "oops", "done"])
        },
        StateShape {
            on_enter: version == "2",
            on_exit: true,
            ..state("hold", StateKind::Manual, &["a", "done"])
        },
        state("oops", StateKind::Work, &["a", "done"]),
        state("done", StateKind::Final, &[]),
    ];
    Arc::new(WorkflowShape {
        name: name("trial"),
        version: version.to_owned(),
        initial: name("a"),
        states,
        on_error: None,
        events,
        indexes: Vec::new(),
        migrates_from: match version {
            "2" => vec!["1".to_owned()],
            _ => Vec::new(),
        },
    })
}

/// Refuses some, and renames a state.
pub(super) fn migrate(former: &Former, epoch: u64) -> Result<Migrated, McpError> {
    if epoch.is_multiple_of(5) {
        return Err(McpError::permanent("NOT_NOW"));
    }
    let state = match former.state.as_str() {
        "a" => name("b"),
        _ => former.state.clone(),
    };
    let data = former.data.clone();
    Ok(Migrated { state, data })
}

/// What a handler decides depends on what it can see, and nothing else.
pub(super) fn run(seed: u64, shape: &WorkflowShape, record: &WorkflowRecord) -> Ran {
    let state = shape.state(&record.state).expect("it runs");
    let told = u64::from(record.received.is_some()) + 2 * u64::from(record.timed_out);
    let text = record
        .state
        .as_str()
        .bytes()
        .fold(0, |sum, byte| sum * 31 + u64::from(byte));
    let known = (record.entry << 20) ^ (u64::from(record.attempt) << 8) ^ (text << 32) ^ told;
    let mut dice = Dice(seed ^ known.wrapping_mul(0x2545_f491_4f6c_dd1d));
    if record.compensates().is_some() {
        return undone(&mut dice);
    }
    let onwards: Vec<&Name> = (state.transitions.iter())
        .filter(|to| to.as_str() != "done")
        .collect();
    let mut children = Vec::new();
    let outcome = match dice.below(30) {
        _ if state.kind != StateKind::Work => Ok(Next::Stay),
        _ if record.entry > LONG_ENOUGH => Ok(Next::To(name("done"))),
        0..=3 => Err(McpError::temporary("BUSY")),
        4 => {
            children = some_children(record, &mut dice);
            Ok(Next::Wait {
                signals: Vec::new(),
                children: Some(match (dice.below(3), children.first()) {
                    (0, Some(first)) => ChildWait::One(first.id.clone()),
                    (1, _) => ChildWait::Any,
                    _ => ChildWait::All,
                }),
                within: dice.percent(30).then(|| Duration::from_secs(6)),
            })
        }
        5 => Err(McpError::permanent("BROKEN")),
        6 => Ok(Next::Fail(McpError::permanent("NO_USE"))),
        7..=9 => Ok(Next::Wait {
            signals: vec![name("more"), name("go")],
            children: None,
            within: dice.percent(70).then(|| Duration::from_secs(4)),
        }),
        10..=11 => Ok(Next::After {
            delay: Duration::from_secs(2),
            to: dice.percent(50).then(|| (*dice.pick(&onwards)).clone()),
        }),
        12 => Ok(Next::Stay),
        13 => Ok(Next::Complete),
        14 => {
            children = some_children(record, &mut dice);
            Ok(Next::To(name("hold")))
        }
        15 => Ok(Next::To(name("done"))),
        _ => Ok(Next::To((*dice.pick(&onwards)).clone())),
    };
    let data = dice
        .percent(80)
        .then(|| Raw::encode(&(record.entry, record.attempt)).unwrap());
    Ran {
        entered: record.entered || outcome.is_ok() || dice.percent(50),
        outcome: outcome.map(|next| Outcome { data, next }),
        children,
        draw: 0.5,
    }
}

/// So many parallel commands of this entry are done.
pub(super) fn progress(record: &WorkflowRecord, done: usize) -> Vec<LabelProgress> {
    let label = |number| LabelProgress {
        label: format!("{}.{number}", record.entry),
        progress: CommandProgress::Done,
    };
    (0..done).map(label).collect()
}

fn some_children(record: &WorkflowRecord, dice: &mut Dice) -> Vec<ChildStart> {
    let child = |number: u32| ChildStart {
        id: Token::new(&format!("w--{}-{number}", record.entry)).unwrap(),
        definition: name("trial"),
        label: number.to_string(),
        data: Raw::empty_map(),
        independent: dice.percent(30),
    };
    (0..3)
        .map(child)
        .take(usize::from(record.entry.is_multiple_of(3)) + 1)
        .collect()
}

fn undone(dice: &mut Dice) -> Ran {
    let outcome = match dice.below(10) {
        0..=2 => Err(McpError::temporary("BUSY")),
        3 => Err(McpError::permanent("BROKEN")),
        _ => Ok(Outcome {
            data: None,
            next: Next::Stay,
        }),
    };
    Ran {
        entered: false,
        outcome,
        children: Vec::new(),
        draw: 0.5,
    }
}
