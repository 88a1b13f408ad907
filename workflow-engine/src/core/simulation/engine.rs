//! Engines: deliveries in progress, what their actions do, and how they go wrong.

use crate::{
    core::{Action, Drive, End, Input},
    effect::Effect,
    record::WorkflowRecord,
};

use super::{script, world::World};

/// A delivery in progress.
#[derive(Debug)]
pub(super) struct Delivery {
    drive: Drive,
    replica: usize,
    task: String,
    number: u64,
    /// What it is about to do; `None` while it waits for its effects.
    action: Option<Action>,
    /// Begun and not done, each with the record that listed it.
    effects: Vec<(Effect, WorkflowRecord)>,
    waits_for_effects: bool,
    /// Its lease has passed: somebody else may have the task.
    zombie: bool,
}

impl World {
    pub(super) fn deliver(&mut self, visible: &[usize]) {
        if visible.is_empty() {
            return;
        }
        let at = *self.dice.pick(visible);
        let replica = self.dice.below(self.replicas.len());
        let queued = &mut self.queue[at];
        queued.deliveries += 1;
        queued.leased = Some(queued.deliveries);
        let shapes = self.replicas[replica].shapes.clone();
        let mut drive = Drive::new(shapes, queued.task.clone(), queued.deliveries);
        let action = drive.begin();
        let delivery = Delivery {
            drive,
            replica,
            task: queued.task.id.clone(),
            number: queued.deliveries,
            action: Some(action),
            effects: Vec::new(),
            waits_for_effects: false,
            zombie: false,
        };
        self.tell(|| {
            format!(
                "replica {replica} gets {}#{}",
                delivery.task, delivery.number
            )
        });
        self.deliveries.push(delivery);
    }

    /// An engine does what its drive says, and tells it what came of it.
    pub(super) fn advance_one(&mut self) {
        if self.deliveries.is_empty() {
            return;
        }
        let at = self.dice.below(self.deliveries.len());
        let Some(action) = self.deliveries[at].action.take() else {
            return self.confirm_of(at);
        };
        let (task, number) = (self.deliveries[at].task.clone(), self.deliveries[at].number);
        self.tell(|| format!("{task}#{number} {}", brief(&action)));
        let Some(input) = self.act(at, action) else {
            return;
        };
        self.tell(|| format!("{task}#{number}   -> {}", brief(&input)));
        let now_ms = self.now_ms;
        let delivery = &mut self.deliveries[at];
        delivery.action = Some(delivery.drive.step(input, now_ms));
    }

    /// `None`: nothing to tell the drive yet, or ever.
    fn act(&mut self, at: usize, action: Action) -> Option<Input> {
        match action {
            Action::Read => Some(Input::Found(self.store.read())),
            Action::FindStart => Some(Input::Start(self.start_in_queue())),
            Action::LoadCheckpoint(name) => {
                let found = self.checkpoints.get(&name);
                let found = found.and_then(|(_, copy)| copy.clone()).map(Box::new);
                Some(Input::Checkpoint(name, found))
            }
            Action::Migrate { former, to } => {
                assert_eq!(to, "2", "the only one with a migration function");
                let record = self.deliveries[at].drive.record();
                let epoch = record.expect("a record migrates").epoch;
                let migrated = script::migrate(&former, epoch);
                Some(Input::Migrated(Box::new((*former, migrated))))
            }
            // Forks are tried against a real server.
            Action::LoadOrigin(_) => Some(Input::Origin(None)),
            Action::AskForVersion(version) => {
                let has =
                    |shape: &std::sync::Arc<crate::shape::WorkflowShape>| shape.version == version;
                let alive = self
                    .replicas
                    .iter()
                    .any(|replica| replica.shapes.iter().any(has));
                // Presence can be out of date, in both directions.
                let alive = if self.dice.percent(20) {
                    self.dice.percent(30)
                } else {
                    alive
                };
                Some(Input::Elsewhere(alive))
            }
            Action::Write(record, revision) => {
                Some(self.write(at, WorkflowRecord::clone(&record), revision))
            }
            Action::Confirm { effects, wait } => {
                let record = self.deliveries[at].drive.record().cloned();
                let record = record.expect("effects are of a record");
                let delivery = &mut self.deliveries[at];
                let effects = effects.into_iter().map(|effect| (effect, record.clone()));
                delivery.effects.extend(effects);
                delivery.waits_for_effects = wait && !delivery.effects.is_empty();
                (!delivery.waits_for_effects).then_some(Input::Confirmed)
            }
            Action::Answer => {
                let task = self.deliveries[at].task.clone();
                self.ledger.answer(&task, None);
                Some(Input::Answered)
            }
            Action::Run => Some(self.run(at)),
            Action::GoOnRunning => Some(self.run_on(at)),
            Action::Exit => Some(Input::Exited),
            Action::Sleep(_) => Some(Input::Slept),
            Action::End(end) => {
                self.end(at, &end);
                None
            }
        }
    }

    fn write(&mut self, at: usize, record: WorkflowRecord, revision: u64) -> Input {
        if self.store.revision() != revision {
            self.seen.conflicts += 1;
            return Input::Conflict;
        }
        let delivery = &self.deliveries[at];
        self.ledger.written(
            &self.store,
            &record,
            (&delivery.task, delivery.number),
            &mut self.seen,
        );
        self.store.writes.push(record);
        self.seen.writes += 1;
        if self.faults_left > 0 && self.dice.percent(3) {
            // Its answer is lost, and the retry of the write meets the write itself.
            self.faults_left -= 1;
            self.faults += 1;
            self.seen.lost_answers += 1;
            self.tell(|| "  ... and its answer is lost".to_owned());
            return Input::Conflict;
        }
        Input::Written(self.store.revision())
    }

    fn run(&mut self, at: usize) -> Input {
        self.seen.runs += 1;
        let drive = &self.deliveries[at].drive;
        let record = drive.record().expect("a record runs");
        self.ledger.ran(record.entry, record.attempt);
        self.run_on(at)
    }

    /// At times a state has news before it ends: one more of its parallel commands is done.
    fn run_on(&mut self, at: usize) -> Input {
        let drive = &self.deliveries[at].drive;
        let record = drive.record().expect("a record runs");
        let done = record.progress.len();
        if done < 3 && self.dice.percent(15) {
            self.seen.news += 1;
            return Input::Progressed(script::progress(record, done + 1));
        }
        let shape = drive.shape().expect("with its definition");
        Input::Ran(Box::new(script::run(self.seed, shape, record)))
    }

    /// Who has lost the lease sends neither ack nor NAK; the answer may have gone out before.
    fn end(&mut self, at: usize, end: &End) {
        let delivery = self.deliveries.swap_remove(at);
        if let End::Done(Some(answer)) = end {
            self.ledger
                .answer(&delivery.task, answer.as_ref().err().map(|error| &**error));
        }
        let mut queued = self.queue.iter().enumerate();
        let own = queued.find(|(_, queued)| queued.task.id == delivery.task);
        let Some(own) = own.map(|(own, _)| own).filter(|_| !delivery.zombie) else {
            return;
        };
        match end {
            End::Silent => self.queue[own].leased = None,
            End::Later(delay) => {
                let delay = u64::try_from(delay.as_millis()).expect("not for ages");
                self.queue[own].leased = None;
                self.queue[own].visible_at = self.now_ms + delay;
            }
            End::Done(_) => {
                assert!(delivery.effects.is_empty(), "acknowledged too early");
                self.ledger.check_acknowledged(&self.store, &delivery.task);
                self.queue.remove(own);
            }
        }
    }

    /// An effect that has been begun is done.
    pub(super) fn confirm_one(&mut self) {
        if !self.deliveries.is_empty() {
            let at = self.dice.below(self.deliveries.len());
            self.confirm_of(at);
        }
    }

    fn confirm_of(&mut self, at: usize) {
        if self.deliveries[at].effects.is_empty() {
            return;
        }
        let which = self.dice.below(self.deliveries[at].effects.len());
        let (effect, record) = self.deliveries[at].effects.swap_remove(which);
        self.bring_about(&effect, &record);
        let now_ms = self.now_ms;
        let delivery = &mut self.deliveries[at];
        delivery.drive.confirmed(effect.id);
        if delivery.waits_for_effects && delivery.effects.is_empty() {
            delivery.waits_for_effects = false;
            delivery.action = Some(delivery.drive.step(Input::Confirmed, now_ms));
        }
    }

    /// Something goes wrong with an engine.
    pub(super) fn fault(&mut self) {
        if self.deliveries.is_empty() {
            return;
        }
        self.faults_left -= 1;
        self.faults += 1;
        let at = self.dice.below(self.deliveries.len());
        match self.dice.below(3) {
            0 => self.fall_asleep(at),
            1 => self.crash(at),
            _ => {
                let replica = self.deliveries[at].replica;
                let lost = |delivery: &Delivery| delivery.replica == replica;
                while let Some(at) = self.deliveries.iter().position(lost) {
                    self.crash(at);
                }
            }
        }
    }

    /// Its lease passes while it goes on: the task is delivered again.
    fn fall_asleep(&mut self, at: usize) {
        let delivery = &mut self.deliveries[at];
        let (task, number) = (delivery.task.clone(), delivery.number);
        delivery.zombie = true;
        self.seen.zombies += 1;
        self.release(&task, number);
        self.tell(|| format!("{task}#{number} is a zombie now"));
    }

    /// Before or after what it was about to do has taken place; each effect that it has begun may have been done.
    fn crash(&mut self, at: usize) {
        self.seen.crashes += 1;
        let (task, number) = (self.deliveries[at].task.clone(), self.deliveries[at].number);
        self.tell(|| format!("{task}#{number} crashes"));
        let action = self.deliveries[at].action.take();
        // What ends a delivery takes it away: the crash comes before.
        if let Some(action) = action.filter(|action| !matches!(action, Action::End(_)))
            && self.dice.percent(50)
        {
            self.act(at, action);
        }
        let delivery = self.deliveries.swap_remove(at);
        for (effect, record) in delivery.effects {
            if self.dice.percent(50) {
                self.bring_about(&effect, &record);
            }
        }
        self.release(&task, number);
    }

    fn release(&mut self, task: &str, number: u64) {
        let leased = |task: &super::world::Queued| task.leased == Some(number);
        let own = self.queue.iter_mut().find(|queued| queued.task.id == task);
        if let Some(own) = own.filter(|own| leased(own)) {
            own.leased = None;
        }
    }
}

/// The beginning of what something looks like.
fn brief(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(1_500).collect()
}
