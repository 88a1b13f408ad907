//! Taking tasks in: the delivery's own, and those in the inbox.

use mcp_runtime::McpError;

use crate::{
    core::apply::{Applied, apply, collides},
    effect::EffectKind,
    record::WorkflowStatus,
    task::{Task, Verb},
};

use super::{Action, Draft, Drive, End, Migrations, Need, Purpose, Room, Stage, TOO_LARGE_DELAY};

impl Drive {
    /// Applies the delivery's own task to a workflow that nobody drives.
    pub(super) fn apply(&mut self) -> Action {
        let Some(shape) = self.shape_for_task() else {
            return self.ask_for_version();
        };
        let mut draft = self.draft(&shape);
        match apply(&mut draft, &self.task, &self.supplies) {
            Err(need) => self.fetch(need, Purpose::Applying),
            Ok(Applied::Rejected(error)) => self.refuse(error),
            Ok(Applied::Ignored) => self.decline(None),
            Ok(Applied::Done) => {
                draft.taken(&self.task.id);
                let record = draft.close(&self.author);
                self.write(record, Stage::Applying)
            }
        }
    }

    /// Writes what the inbox does to the workflow, as much of it as one write can hold.
    pub(super) fn take_in(&mut self) -> Action {
        let first = self.record().and_then(|record| record.inbox.first());
        let target = first.and_then(|task| self.target_of(task));
        if let Some(version) = first.and_then(|task| self.lacks_target_of(task)) {
            self.stage = Stage::AskingForTarget(version.clone());
            return Action::AskForVersion(version);
        }
        // A stop needs no more of the definition than any version has, nor does what has ended, unless it is to go on.
        let goes_on = first.is_some_and(|task| matches!(task.task, Verb::Restore | Verb::Resume));
        let has_ended =
            (self.record().and_then(|record| record.rest)).is_some_and(WorkflowStatus::is_ended);
        let stops = first.is_some_and(|task| task.task == Verb::Stop) || (has_ended && !goes_on);
        let newest = || self.shapes.last().filter(|_| stops).cloned();
        let shape = target.or_else(|| self.shape().cloned()).or_else(newest);
        let Some(shape) = shape else {
            return self.ask_for_version();
        };
        let mut draft = self.draft(&shape);
        let entry = draft.record.entry;
        if let (0, Some(need)) = self.take_into(&mut draft, Migrations::First) {
            return self.fetch(need, Purpose::TakingIn);
        }
        if draft.record.entry != entry {
            self.pause = None;
        }
        let record = draft.close(&self.author);
        self.write(record, Stage::TakingIn)
    }

    /// Takes tasks from the inbox in their order. Returns how many, and what the next one needs.
    pub(super) fn take_into(
        &self,
        draft: &mut Draft<'_>,
        migrations: Migrations,
    ) -> (usize, Option<Need>) {
        let mut taken = 0;
        let most = match self.room {
            Room::Plenty => usize::MAX,
            Room::OneTask => 1,
            Room::Nothing => 0,
        };
        while let Some(task) = draft.record.inbox.first().cloned() {
            // A migration needs a draft of its own, by the version that it leads to.
            let apart =
                task.task == Verb::Migrate && (taken > 0 || migrations == Migrations::Later);
            if taken == most || apart || collides(draft, &task) {
                break;
            }
            let refused = match apply(draft, &task, &self.supplies) {
                Err(need) => return (taken, Some(need)),
                Ok(Applied::Rejected(error)) => Some(error),
                Ok(Applied::Ignored | Applied::Done) => None,
            };
            draft.record.inbox.remove(0);
            draft.taken(&task.id);
            draft.effects(end_of(task, refused));
            taken += 1;
        }
        (taken, None)
    }

    /// The version that a migration leads to, when this engine lacks it and others have not been asked for it.
    fn lacks_target_of(&self, task: &Task) -> Option<String> {
        let version = task
            .version
            .as_ref()
            .filter(|_| task.task == Verb::Migrate)?;
        let own = self.record().map(|record| &record.version) == Some(version);
        let known = own || self.target_of(task).is_some();
        let asked = self.nowhere.as_ref() == Some(version);
        (!known && !asked).then(|| version.clone())
    }

    /// Of several tasks each is tried alone; one that is too large alone is refused.
    pub(super) fn take_in_too_large(&mut self, error: McpError) -> Action {
        let Some(shape) = self.shape().cloned() else {
            return self.ask_for_version();
        };
        if self.room == Room::Plenty {
            self.room = Room::OneTask;
            return self.go_on();
        }
        let mut draft = self.draft(&shape);
        if self.room == Room::Nothing || draft.record.inbox.is_empty() {
            return Action::End(End::Later(TOO_LARGE_DELAY));
        }
        self.room = Room::Nothing;
        let refused = draft.record.inbox.remove(0);
        draft.taken(&refused.id);
        draft.effects(end_of(refused, Some(error)));
        let record = draft.close(&self.author);
        self.write(record, Stage::TakingIn)
    }

    pub(super) fn fetch(&mut self, need: Need, purpose: Purpose) -> Action {
        self.stage = Stage::Fetching(purpose);
        match need {
            Need::Exit => Action::Exit,
            Need::Checkpoint(name) => Action::LoadCheckpoint(name),
            Need::Migration { former, to } => Action::Migrate { former, to },
        }
    }

    pub(super) fn fetched(&mut self, purpose: Purpose) -> Action {
        let next = match purpose {
            Purpose::Applying => self.apply(),
            Purpose::TakingIn => self.take_in(),
            Purpose::GoingOn => self.go_on(),
        };
        // Read for one task only: the next one may ask for what this one has just written.
        if matches!(next, Action::Write(..)) {
            self.supplies.checkpoints.clear();
        }
        next
    }
}

/// Answered where somebody waits for that; a task that was refused and that nobody asks about is kept for a person.
pub(super) fn end_of(mut task: Task, refused: Option<McpError>) -> Option<EffectKind> {
    match (task.reply_to.take(), refused) {
        (Some(reply_to), refused) => Some(EffectKind::Answer {
            request: task.id,
            reply_to,
            json: task.json,
            error: refused,
        }),
        (None, Some(error)) if task.task != Verb::Wake => Some(EffectKind::Bury {
            task: Box::new(task),
            error,
        }),
        (None, _) => None,
    }
}
