//! What a delivery finds, and so what becomes of its task: driven, left in the inbox, answered already, or too early.

use std::time::Duration;

use crate::{
    core::{apply::is_its_timer, codes, refusal},
    effect::{Effect, EffectKind},
    record::WorkflowStatus,
    task::Verb,
};

use super::{Action, Drive, ELSEWHERE_DELAY, End, MAX_INBOX, Stage, Versioned};

impl Drive {
    pub(super) fn decide(
        &mut self,
        found: Option<Box<Versioned>>,
        looked_for_start: bool,
    ) -> Action {
        let Some(found) = found else {
            return match self.task.task {
                Verb::Start => self.start(),
                // Its start was refused.
                _ if looked_for_start && self.task.parent.is_some() => Action::End(End::Done(None)),
                _ if looked_for_start => self.refuse(refusal(
                    codes::NO_SUCH_WORKFLOW,
                    format!("there is no workflow `{}`", self.task.workflow_id),
                )),
                _ => {
                    self.stage = Stage::FindingStart;
                    Action::FindStart
                }
            };
        };
        let record = &found.record;
        let driver = record.driver.clone();
        let known = record.knows(&self.task.id);
        let same_definition = record.definition == self.task.definition;
        self.base = Some(*found);
        if !same_definition && self.task.task != Verb::Start {
            return self.refuse(refusal(
                codes::NO_SUCH_WORKFLOW,
                format!(
                    "`{}` has no workflow `{}`",
                    self.task.definition, self.task.workflow_id
                ),
            ));
        }
        match driver {
            Some(driver) if driver.task == self.task.id => self.take_over(driver.delivery),
            // Whoever takes it from the inbox answers it, or has noted the answer; parking is all that it can have written.
            _ if self.is_answered_by_others() => {
                self.answered = true;
                self.finish()
            }
            _ if known => self.finish(),
            _ if self.task.is_for_parked() => match self.is_parked_for_task() {
                true => self.prepare(),
                false => self.finish(),
            },
            // Nothing waits for a time: whoever had it set has gone on.
            _ if self.task.task == Verb::Wake && self.timed_wait().is_none() => self.finish(),
            _ if self.too_early().is_some() => {
                Action::End(End::Later(self.too_early().unwrap_or(ELSEWHERE_DELAY)))
            }
            _ if self.task.task == Verb::Start => match same_definition {
                true => self.finish(),
                false => self.refuse(refusal(
                    codes::WORKFLOW_EXISTS,
                    format!(
                        "`{}` is a workflow of another definition",
                        self.task.workflow_id
                    ),
                )),
            },
            Some(_) => self.append(),
            None => self.prepare(),
        }
    }

    /// Somebody drives: the task waits in the inbox.
    pub(super) fn append(&mut self) -> Action {
        let Some(mut record) = self.record().cloned() else {
            return Action::End(End::Silent);
        };
        if record.inbox.len() >= MAX_INBOX {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        }
        if self.task.stops_at_once() && record.rest.is_none() {
            record.status = WorkflowStatus::Stopped;
        }
        record.inbox.push(self.task.clone());
        record.epoch += 1;
        record.updated_at = self.now_ms;
        self.write(record, Stage::Appending)
    }

    /// Checkpoints that others have noted copy what this task may change: they are confirmed first.
    pub(super) fn prepare(&mut self) -> Action {
        if self.shape_for_task().is_none() {
            return self.ask_for_version();
        }
        let pending = self.record().map(|record| record.pending.as_slice());
        let checkpoints: Vec<Effect> = (pending.unwrap_or_default().iter())
            .filter(|effect| effect.kind.comes_first())
            .cloned()
            .collect();
        if checkpoints.is_empty() {
            return self.apply();
        }
        self.stage = Stage::Preparing;
        Action::Confirm {
            effects: checkpoints,
            wait: true,
        }
    }

    /// When the workflow goes on by itself.
    pub(super) fn timed_wait(&self) -> Option<u64> {
        self.record()?.wait.as_ref()?.until
    }

    /// The server keeps one timer for each workflow. One that was set late, by an engine that slept through the end of its
    /// wait, has taken the place of the one for the present wait: its `wake` does that one's work when that is due.
    pub(super) fn too_early(&self) -> Option<Duration> {
        let until = self.timed_wait().filter(|until| self.now_ms < *until)?;
        let stray = self.task.task == Verb::Wake && !is_its_timer(self.record()?, &self.task);
        stray.then(|| Duration::from_millis(until - self.now_ms))
    }

    /// Whether the workflow is parked for want of the version that the task says is there.
    pub(super) fn is_parked_for_task(&self) -> bool {
        self.record().is_some_and(|record| {
            record.status == WorkflowStatus::Parked
                && self.task.version.as_deref() == Some(&record.version)
        })
    }

    pub(super) fn is_answered_by_others(&self) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        let waits = record
            .inbox
            .iter()
            .any(|waiting| waiting.id == self.task.id);
        let noted = |effect: &Effect| matches!(&effect.kind, EffectKind::Answer { request, .. } if *request == self.task.id);
        waits || record.pending.iter().any(noted)
    }
}
