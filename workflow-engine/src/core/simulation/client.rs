//! Who starts the workflow and tells it things.

use mcp_runtime::{Name, Raw, Token};

use crate::{
    record::{CHILD_ENDED, ChildEnd, Parent},
    task::{Task, Verb},
};

use super::{Dice, script::name};

/// What is going to be sent, the last first.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) plan: Vec<Task>,
}

fn task(dice: &mut Dice, verb: Verb, number: usize) -> Task {
    let workflow = Token::new("w").unwrap();
    let mut task = Task::new(verb, name("trial"), workflow, 1);
    task.id = format!("t{number}");
    task.reply_to = dice.percent(70).then(|| "_INBOX.r".to_owned());
    task
}

fn state(dice: &mut Dice) -> Name {
    name(dice.word(&["a", "b", "gate", "c", "hold", "oops", "done", "nowhere"]))
}

fn request(dice: &mut Dice, number: usize) -> Task {
    let verb = match dice.below(20) {
        0..=5 => Verb::Signal,
        6..=8 => Verb::Transition,
        9..=11 => Verb::Checkpoint,
        12..=14 => Verb::Restore,
        15 => Verb::DeleteCheckpoint,
        16 => Verb::Resume,
        17 => Verb::Migrate,
        _ => Verb::Stop,
    };
    let mut task = task(dice, verb, number);
    match verb {
        Verb::Signal => {
            task.name = Some(name(dice.word(&["go", "more", "other"])));
            // Each signal is another one.
            task.data = Some(Raw::encode(&number).unwrap());
        }
        Verb::Transition => {
            task.to = Some(state(dice));
            task.expected_state = dice.percent(20).then(|| state(dice));
            task.data = dice.percent(50).then(|| Raw::encode(&number).unwrap());
        }
        Verb::Checkpoint | Verb::Restore | Verb::DeleteCheckpoint => {
            task.name = Some(name(dice.word(&["b", "x"])));
        }
        Verb::Stop => task.compensate = dice.percent(50),
        Verb::Migrate => task.version = Some(dice.word(&["1", "2"]).to_owned()),
        _ => {}
    }
    task
}

impl Client {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let count = dice.below(9);
        let mut plan: Vec<Task> = (1..=count).map(|number| request(dice, number)).collect();
        let mut start = task(dice, Verb::Start, 0);
        start.version = (dice.percent(50)).then(|| dice.word(&["1", "2"]).to_owned());
        start.parent = dice.percent(30).then(|| Parent {
            workflow_id: Token::new("above").unwrap(),
            definition: name("trial"),
        });
        start.state = dice.percent(25).then(|| state(dice));
        if dice.percent(95) {
            plan.push(start);
        } else {
            // Somebody asks for a workflow that is not there yet.
            plan.insert(0, start);
        }
        Self { plan }
    }

    pub(super) fn child_ended(end: &ChildEnd) -> Task {
        let mut told = task(&mut Dice(1), Verb::Signal, 0);
        told.reply_to = None;
        told.id = format!("{}.{}.ended", end.id, end.epoch);
        told.name = Some(name(CHILD_ENDED));
        told.data = Some(Raw::encode(end).unwrap());
        told
    }

    /// A time that has come, or a version.
    pub(super) fn wake(id: &str, entry: u64) -> Task {
        let mut wake = task(&mut Dice(1), Verb::Wake, 0);
        wake.reply_to = None;
        wake.id = id.to_owned();
        wake.entry = Some(entry);
        wake
    }
}
