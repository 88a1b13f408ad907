//! Driving: state after state on the spot, until the workflow waits or ends.

use std::{sync::Arc, time::Duration};

use mcp_runtime::{McpError, Name};

use crate::{
    core::{
        Need,
        advance::{Ran, advance, advance_by_itself, fail},
        codes, refusal,
    },
    effect::{Effect, MAX_PENDING},
    record::{ChildWait, Driver, WorkflowRecord, WorkflowStatus},
    shape::{StateShape, WorkflowShape},
    task::Verb,
};

use super::{
    Action, Drive, ELSEWHERE_DELAY, End, Migrations, Purpose, Room, Stage, TOO_LARGE_DELAY,
    Takeover, Versioned,
};

/// A state whose engines vanished this often has killed them. More than a command is given: replicas die every few
/// seconds, a state that waits for a dead one's lease loses its own engine too, and six times in a row does happen.
const MAX_TAKEOVERS: u32 = 12;

impl Drive {
    /// An earlier delivery of this task has driven the workflow, unless it is a later one that does.
    pub(super) fn take_over(&mut self, delivery: u64) -> Action {
        if delivery > self.author.driver.delivery {
            return Action::End(End::Silent);
        }
        self.stage = Stage::TakingOver(Takeover::Confirming);
        Action::Confirm {
            effects: self.unbegun(),
            wait: true,
        }
    }

    /// The higher delivery number in the record is what silences the one before.
    pub(super) fn write_takeover(&mut self) -> Action {
        // A migration that waits first leads away from the version: whoever has that to which it leads goes on.
        let next = self.record().and_then(|record| record.inbox.first());
        let target = next.and_then(|task| self.target_of(task));
        let Some(shape) = self.shape().cloned().or(target) else {
            return self.ask_for_version();
        };
        let mut draft = self.draft(&shape);
        let first = draft
            .record
            .driver
            .as_ref()
            .is_some_and(|driver| driver.delivery == 0);
        // A workflow that has only its inbox left to see to runs nothing that could take an engine with it.
        let runs = draft.phase() == WorkflowStatus::Running;
        draft.record.takeovers += u32::from(!first && runs);
        let state = shape.state(&draft.record.state);
        if let Some(state) = state.filter(|_| runs && draft.record.takeovers > MAX_TAKEOVERS) {
            let poison = McpError::permanent(mcp_runtime::code::POISON)
                .message(format!("`{}` has taken its engines with it", state.name));
            fail(&mut draft, state, poison);
        }
        let record = draft.close(&self.author);
        self.write(record, Stage::TakingOver(Takeover::Writing))
    }

    /// Another engine is to go on at once. That is no death: a driver without a delivery is not counted when it is taken over.
    pub(super) fn give_away(&mut self, delay: Duration) -> Action {
        let written = self.base.as_ref().is_some_and(|base| base.revision > 0);
        let Some(mut record) = self.record().filter(|_| written).cloned() else {
            return Action::End(End::Later(delay));
        };
        record.epoch += 1;
        record.updated_at = self.now_ms;
        record.driver = Some(Driver {
            task: self.task.id.clone(),
            delivery: 0,
        });
        self.write(record, Stage::Yielding(delay))
    }

    /// What is written becomes what is known, and its effects are begun.
    pub(super) fn written(&mut self, revision: u64) -> Action {
        let Some(record) = self.writing.take() else {
            return Action::End(End::Silent);
        };
        // What a record no longer lists needs not be remembered.
        let listed = |id: &String| record.pending.iter().any(|effect| effect.id == *id);
        self.begun.retain(listed);
        self.author.confirmed.retain(listed);
        self.room = Room::Plenty;
        self.base = Some(Versioned { record, revision });
        let effects = self.unbegun();
        if effects.is_empty() {
            return self.answer_or_go_on();
        }
        // More than half of what a record carries on: the next write would forget the oldest before they are confirmed.
        let wait = effects.iter().any(|effect| effect.kind.comes_first())
            || self.begun.len() > MAX_PENDING / 2;
        self.stage = Stage::Effecting { wait };
        Action::Confirm { effects, wait }
    }

    /// A state whose result is too large has failed by that; if even its failure is, the workflow cannot be written.
    pub(super) fn advance_too_large(&mut self, mut ran: Box<Ran>, error: McpError) -> Action {
        if self.room == Room::Nothing {
            return Action::End(End::Later(TOO_LARGE_DELAY));
        }
        self.room = Room::Nothing;
        ran.outcome = Err(error);
        self.advance(ran)
    }

    /// The effects of this task that this delivery has not begun yet; from now on it has.
    pub(super) fn unbegun(&mut self) -> Vec<Effect> {
        let pending = self
            .base
            .as_ref()
            .map(|base| base.record.pending.as_slice());
        let own: Vec<Effect> = (pending.unwrap_or_default().iter())
            .filter(|effect| effect.task == self.task.id && !self.begun.contains(&effect.id))
            .cloned()
            .collect();
        self.begun
            .extend(own.iter().map(|effect| effect.id.clone()));
        own
    }

    /// Who asked for this task hears of it now, not when the run ends.
    pub(super) fn answer_or_go_on(&mut self) -> Action {
        let goes_on = self.record().is_some_and(|record| self.drives(record));
        if goes_on && !self.answered && self.task.reply_to.is_some() {
            self.answered = true;
            self.stage = Stage::Answering;
            return Action::Answer;
        }
        self.go_on()
    }

    /// The next step of a workflow that this delivery drives, or the end of the drive.
    pub(super) fn go_on(&mut self) -> Action {
        let Some(record) = self.record().filter(|record| self.drives(record)) else {
            return self.finish();
        };
        let (state, entered) = (record.state.clone(), record.entered);
        if !record.inbox.is_empty() {
            return self.take_in();
        }
        if let Some(pause) = self.pause.take() {
            self.stage = Stage::Sleeping;
            return Action::Sleep(pause);
        }
        let Some(shape) = self.shape().cloned() else {
            return self.ask_for_version();
        };
        let compensates = self
            .record()
            .is_some_and(|record| record.compensates().is_some());
        let runs = |state: &StateShape| state.needs_run(entered);
        if compensates || shape.state(&state).is_some_and(runs) {
            self.stage = Stage::Running;
            return Action::Run;
        }
        if self.leaves_by_early_signal(&shape) {
            return self.fetch(Need::Exit, Purpose::GoingOn);
        }
        let mut draft = self.draft(&shape);
        advance_by_itself(&mut draft);
        let record = draft.close(&self.author);
        self.write(record, Stage::TakingIn)
    }

    /// A state that waits for a signal that is there already is left at once, and its exit hook is still to run.
    fn leaves_by_early_signal(&self, shape: &WorkflowShape) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        let state = shape.state(&record.state);
        let state = state.filter(|state| state.on_exit && state.then.is_some());
        let early = |name: &Name| record.signals.iter().any(|signal| signal.name == *name);
        let over = |children: &ChildWait| children.is_over(&record.children);
        let leaves = |state: &StateShape| {
            state.signal.as_ref().is_some_and(early) || state.children.as_ref().is_some_and(over)
        };
        state.is_some_and(leaves) && self.supplies.exited != Some(record.entry)
    }

    /// Writes what a state has decided, and what has come in meanwhile, in one.
    pub(super) fn advance(&mut self, ran: Box<Ran>) -> Action {
        let Some(shape) = self.shape().cloned() else {
            return self.ask_for_version();
        };
        let mut draft = self.draft(&shape);
        self.pause = advance(&mut draft, &ran);
        let entry = draft.record.entry;
        self.take_into(&mut draft, Migrations::Later);
        if draft.record.entry != entry {
            self.pause = None;
        }
        let record = draft.close(&self.author);
        self.write(record, Stage::Advancing(ran))
    }

    pub(super) fn reread(&mut self, ran: Option<Box<Ran>>) -> Action {
        self.stage = Stage::Rereading(ran);
        Action::Read
    }

    /// A write was lost: to a task that put itself into the inbox, or to whoever has taken over.
    pub(super) fn compare(
        &mut self,
        found: Option<Box<Versioned>>,
        ran: Option<Box<Ran>>,
    ) -> Action {
        let Some(mut found) = found else {
            return Action::End(End::Silent);
        };
        if self.writing.as_ref() == Some(&found.record) {
            // It was our own write that came first; only its answer was lost.
            return self.written(found.revision);
        }
        let unclaimed = (found.record.driver.as_ref()).is_some_and(|driver| driver.delivery == 0);
        let same_state = |known: &&WorkflowRecord| begins_alike(known, &found.record);
        let known = (self.record()).filter(|_| unclaimed && ran.is_some());
        if let Some(known) = known.filter(same_state) {
            // A start that names no version gets that of the engine which runs it, not of the one which wrote first.
            Arc::make_mut(&mut found.record)
                .version
                .clone_from(&known.version);
        }
        let undisturbed = (self.record()).is_some_and(|known| is_continued(known, &found.record));
        let own = &self.author.driver;
        let delivery = match &found.record.driver {
            Some(driver) if driver.task == own.task => driver.delivery,
            _ => return Action::End(End::Silent),
        };
        let own_delivery = own.delivery;
        self.base = Some(*found);
        match ran {
            // Written by a task that came before the start's first write: the start has still everything.
            Some(ran) if undisturbed && (delivery == own_delivery || delivery == 0) => {
                self.advance(ran)
            }
            None if undisturbed && delivery == own_delivery => self.go_on(),
            _ => self.take_over(delivery),
        }
    }

    pub(super) fn asked(&mut self, elsewhere: bool) -> Action {
        let written = self.base.as_ref().is_some_and(|base| base.revision > 0);
        // One that drives already has been taken in: what is missing then is the version that it led to.
        let refusable = (self.record()).is_none_or(|record| !record.knows(&self.task.id));
        let migrates = self.task.task == Verb::Migrate && refusable;
        if (migrates || (self.is_fork_onto_another() && !written)) && !elsewhere {
            let version = self.task.version.as_deref().unwrap_or_default();
            let message = format!(
                "no engine has version {version} of `{}`",
                self.task.definition
            );
            return self.refuse(refusal(codes::STATE_MISMATCH, message));
        }
        if elsewhere || (!written && self.task.task != Verb::Start) {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        }
        let Some(shape) = self.shapes.last().cloned() else {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        };
        let Some(record) = self.record() else {
            return Action::End(End::Silent);
        };
        let drives = (record.driver.as_ref()).is_some_and(|driver| driver.task == self.task.id);
        if record.status == WorkflowStatus::Parked && self.task.is_for_parked() {
            // Who had the version is gone again; whoever brings it next says so anew.
            return self.decline(None);
        }
        if record.status == WorkflowStatus::Parked {
            // It rests already; the task waits with it.
            return self.append();
        }
        let mut draft = self.draft(&shape);
        if !drives {
            draft.record.inbox.push(self.task.clone());
            // It is answered when it is taken from there.
            self.answered = true;
        }
        let record = draft.park(&self.author);
        self.write(record, Stage::Parking)
    }

    /// A migration in the inbox leads to a version that this engine lacks: one that has it goes on, if there is any.
    pub(super) fn asked_for_target(&mut self, version: String, elsewhere: bool) -> Action {
        if elsewhere {
            return self.give_away(ELSEWHERE_DELAY);
        }
        self.nowhere = Some(version);
        self.take_in()
    }

    /// The last effects, and then the end.
    pub(super) fn finish(&mut self) -> Action {
        self.stage = Stage::Finishing;
        Action::Confirm {
            effects: self.unbegun(),
            wait: true,
        }
    }
}

/// Whether a start would begin in the same place by the versions of both. Where it would not, what was written first holds.
pub(super) fn begins_alike(known: &WorkflowRecord, found: &WorkflowRecord) -> bool {
    known.state == found.state && known.rest == found.rest
}

/// Whether nothing but tasks in the inbox has come to a record since it was known as it is here: what a state has decided
/// meanwhile is still to be written. A start that has not written yet knows a record of epoch 0.
pub(super) fn is_continued(known: &WorkflowRecord, found: &WorkflowRecord) -> bool {
    let same_run = (known.version == found.version && known.state == found.state)
        && (known.entry, known.attempt, known.takeovers)
            == (found.entry, found.attempt, found.takeovers)
        && (known.entered, known.rest) == (found.entered, found.rest);
    same_run && found.inbox.starts_with(&known.inbox) && found.taken == known.taken
}

#[cfg(test)]
mod tests {
    use super::super::{
        Action, Drive, Input, Versioned,
        samples::{shape, task},
    };
    use crate::{
        core::started,
        record::{Driver, WorkflowRecord, WorkflowStatus},
        task::Verb,
    };

    fn found(record: WorkflowRecord) -> Input {
        Input::Found(Some(Box::new(Versioned {
            record: record.into(),
            revision: 7,
        })))
    }

    /// Driven by `r`, which an engine with version 1 has given away for the sake of a migration to version 2.
    fn given_away() -> WorkflowRecord {
        let mut record = started(&task(Verb::Start, "s"), &vec![shape("1")], None, 1).unwrap();
        (record.epoch, record.status) = (5, WorkflowStatus::Running);
        record.rest = Some(WorkflowStatus::Waiting);
        record.driver = Some(Driver {
            task: "r".to_owned(),
            delivery: 0,
        });
        let mut migrate = task(Verb::Migrate, "m");
        migrate.version = Some("2".to_owned());
        record.inbox = vec![migrate];
        record
    }

    #[test]
    fn migration_that_waits_goes_on_where_its_version_is_though_the_old_one_is_not() {
        let mut drive = Drive::new(vec![shape("2")], task(Verb::Restore, "r"), 2);
        drive.begin();
        let mut action = drive.step(found(given_away()), 9);
        let mut written = Vec::new();
        for revision in 8..12 {
            action = match action {
                Action::Confirm { .. } => drive.step(Input::Confirmed, 9),
                Action::Write(record, _) => {
                    written.push((record.version.clone(), record.inbox.len()));
                    drive.step(Input::Written(revision), 9)
                }
                Action::Migrate { .. } | Action::AskForVersion(_) => {
                    panic!("the version is here, and no function is declared: {action:?}")
                }
                other => {
                    action = other;
                    break;
                }
            };
        }
        assert_eq!(written.first(), Some(&("1".to_owned(), 1)), "{action:?}");
        assert_eq!(written.last(), Some(&("2".to_owned(), 0)), "{action:?}");
    }
}
