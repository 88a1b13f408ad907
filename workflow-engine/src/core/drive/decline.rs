//! Ending with a workflow as it is: what was asked for is refused, or there is nothing to do.
//!
//! Such an end needs no write, and so nothing tells an earlier delivery of the task that it is gone. That one may be about to
//! park the workflow, on an engine without its version: what it writes after this one's acknowledgement nobody confirms, and
//! the workflow is never woken. So a later delivery writes that it has ended; the compare-and-set of the other then loses.

use mcp_runtime::McpError;

use crate::{
    core::draft::effect_id,
    effect::{Effect, MAX_PENDING},
    record::{MAX_TAKEN, WorkflowRecord},
};

use super::{Action, Drive, End, Stage, Versioned, take::end_of};

impl Drive {
    /// `refused` is what is answered instead of the record.
    pub(super) fn decline(&mut self, refused: Option<McpError>) -> Action {
        let first = self.author.driver.delivery <= 1;
        // What another one drives, or another definition, the earlier delivery leaves alone as well.
        let may_write = |base: &&Versioned| {
            let record = &base.record;
            let own = record.driver.is_none() && record.definition == self.task.definition;
            own && base.revision > 0 && !record.knows(&self.task.id)
        };
        let Some(base) = self.base.as_ref().filter(|base| !first && may_write(base)) else {
            return self.decline_unwritten(refused);
        };
        let mut record = WorkflowRecord::clone(&base.record);
        record.epoch += 1;
        record.updated_at = self.now_ms;
        record.taken.push(self.task.id.clone());
        let surplus = record.taken.len().saturating_sub(MAX_TAKEN);
        record.taken.drain(..surplus);
        let told = (refused.clone()).and_then(|error| end_of(self.task.clone(), Some(error)));
        if let Some(kind) = told {
            // As with any write: what is done is no longer listed, and of the rest so much.
            let confirmed = &self.author.confirmed;
            record
                .pending
                .retain(|known| !confirmed.contains(&known.id));
            let mut surplus = record.pending.len().saturating_sub(MAX_PENDING);
            record.pending.retain(|known| {
                let forgotten = surplus > 0 && !known.kind.comes_first();
                surplus -= usize::from(forgotten);
                !forgotten
            });
            record.pending.push(Effect {
                id: effect_id(record.epoch, &kind),
                task: self.task.id.clone(),
                kind,
            });
        }
        self.write(record, Stage::Declining(refused))
    }

    /// The answer of a refusal is an effect of the write, so it is the same when the task comes once more.
    pub(super) fn declined(&mut self, revision: u64, refused: Option<&McpError>) -> Action {
        self.answered |= refused.is_some();
        self.written(revision)
    }

    pub(super) fn decline_unwritten(&mut self, refused: Option<McpError>) -> Action {
        match refused {
            Some(error) => Action::End(End::Done(Some(Err(Box::new(error))))),
            None => self.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Action, Drive, End, Input, Versioned,
        samples::{shape, task},
    };
    use crate::{
        core::{codes, simulation::name, started},
        effect::EffectKind,
        record::WorkflowStatus,
        task::Verb,
    };

    /// Waits in `desk` of version 1.
    fn waiting() -> Option<Box<Versioned>> {
        let mut record = started(&task(Verb::Start, "s"), &vec![shape("1")], None, 1).unwrap();
        (record.epoch, record.status) = (1, WorkflowStatus::Waiting);
        let revision = 7;
        Some(Box::new(Versioned {
            record: record.into(),
            revision,
        }))
    }

    /// A delivery of a restore that has no checkpoint, by an engine with this version; its first action after the reads.
    fn restore(version: &str, delivery: u64) -> (Drive, Action) {
        let mut restore = task(Verb::Restore, "r");
        (restore.name, restore.reply_to) = (Some(name("none")), Some("_INBOX.r".to_owned()));
        let mut drive = Drive::new(vec![shape(version)], restore, delivery);
        let mut action = drive.begin();
        loop {
            let input = match action {
                Action::Read => Input::Found(waiting()),
                Action::LoadCheckpoint(name) => Input::Checkpoint(name, None),
                Action::AskForVersion(_) => Input::Elsewhere(false),
                next => return (drive, next),
            };
            action = drive.step(input, 2);
        }
    }

    #[test]
    fn a_refusal_of_a_later_delivery_is_written_where_a_sleeper_would_write() {
        let (_sleeper, parks) = restore("2", 1);
        let Action::Write(parked, 7) = parks else {
            panic!("{parks:?}")
        };
        assert_eq!(parked.status, WorkflowStatus::Parked);
        let (mut later, declines) = restore("1", 2);
        let Action::Write(record, 7) = declines else {
            panic!("{declines:?}")
        };
        assert_eq!(record.status, WorkflowStatus::Waiting);
        assert!(record.knows("r"));
        let action = later.step(Input::Written(8), 2);
        let Action::Confirm { effects, .. } = action else {
            panic!("{action:?}")
        };
        let refused = effects.iter().find_map(|effect| match &effect.kind {
            EffectKind::Answer { error, .. } => error.as_ref(),
            _ => None,
        });
        assert_eq!(refused.unwrap().code, codes::NO_SUCH_CHECKPOINT);
    }

    #[test]
    fn the_first_delivery_refuses_without_a_write() {
        let (_, action) = restore("1", 1);
        let Action::End(End::Done(Some(answer))) = action else {
            panic!("{action:?}")
        };
        assert_eq!(answer.unwrap_err().code, codes::NO_SUCH_CHECKPOINT);
    }
}
