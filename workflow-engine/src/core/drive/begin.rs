//! The beginning of a workflow: from its start, from a checkpoint of another one, or for a task that came before its record.

use std::{collections::HashSet, sync::Arc};

use mcp_runtime::McpError;

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::{Migrated, codes, draft::Author, refusal, started::started},
    record::{Driver, WorkflowStatus},
    task::Task,
};

use super::{Action, Drive, ELSEWHERE_DELAY, End, Stage, Versioned};

impl Drive {
    /// The record begins in memory: what is written first is what its first state has decided.
    pub(super) fn start(&mut self) -> Action {
        if let Some(origin) = self.task.from.clone().filter(|_| self.origin.is_none()) {
            self.stage = Stage::FindingOrigin;
            return Action::LoadOrigin(origin);
        }
        let origin = self.origin.as_ref();
        let mut record = match started(&self.task, &self.shapes, origin, self.now_ms) {
            Ok(record) => record,
            Err(error) => return self.refuse(error),
        };
        record.driver = Some(self.author.driver.clone());
        let state = record.state.clone();
        self.base = Some(Versioned {
            record: Arc::new(record),
            revision: 0,
        });
        let Some(shape) = self.shape().cloned() else {
            return self.ask_for_version();
        };
        let state = shape.state(&state);
        let fork = self.task.from.is_some();
        let runs = state.is_some_and(|state| state.needs_run(false) && !state.checkpoint && !fork);
        // Somebody waits to hear that it has begun; what does not run decides nothing; and a state that has taken an engine
        // with it must be counted.
        let first = self.author.driver.delivery <= 1;
        match self.task.reply_to.is_none() && runs && first {
            true => self.go_on(),
            false => {
                let mut draft = self.draft(&shape);
                draft.settle_in();
                let record = draft.close(&self.author);
                self.write(record, Stage::Applying)
            }
        }
    }

    pub(super) fn found_origin(&mut self, found: Option<Box<WorkflowCheckpoint>>) -> Action {
        let Some(found) = found else {
            let message = "the checkpoint that it was to begin with does not exist";
            return self.refuse(refusal(codes::NO_SUCH_CHECKPOINT, message.to_owned()));
        };
        if found
            .definition
            .as_ref()
            .is_some_and(|of| *of != self.task.definition)
        {
            let message = "the checkpoint is of a workflow of another definition";
            return self.refuse(refusal(codes::STATE_MISMATCH, message.to_owned()));
        }
        let to = self.task.version.clone().unwrap_or_default();
        let shape = self.shapes.iter().find(|shape| shape.version == to);
        match shape.and_then(|shape| found.former_to(shape)) {
            Some(former) => {
                self.stage = Stage::MigratingOrigin(found);
                Action::Migrate {
                    former: Box::new(former),
                    to,
                }
            }
            None => {
                self.origin = Some(*found);
                self.start()
            }
        }
    }

    pub(super) fn migrated_origin(
        &mut self,
        origin: WorkflowCheckpoint,
        migrated: Result<Migrated, McpError>,
    ) -> Action {
        match migrated {
            Ok(Migrated { state, data }) => {
                self.origin = Some(WorkflowCheckpoint {
                    state,
                    data,
                    version: self.task.version.clone(),
                    ..origin
                });
                self.start()
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Whether a fork is to have another version than its origin: only an engine with that one can say what becomes of the data.
    pub(super) fn is_fork_onto_another(&self) -> bool {
        let origin = self.origin.as_ref();
        let is_other = |origin: &WorkflowCheckpoint| origin.version != self.task.version;
        self.task.version.is_some() && origin.is_some_and(is_other)
    }

    /// A task came before the workflow's first state has ended: the record is written for it, and the start drives.
    pub(super) fn found_start(&mut self, start: Option<Box<Task>>) -> Action {
        let Some(start) = start else {
            // It may have been written and acknowledged between the two looks.
            return self.read_again();
        };
        if start.from.is_some() {
            // A fork is written before its first state runs: in a moment there is a record.
            return Action::End(End::Later(ELSEWHERE_DELAY));
        }
        let mut record = match started(&start, &self.shapes, None, self.now_ms) {
            Ok(record) => record,
            // The start itself will be refused.
            Err(error) => return self.refuse(error),
        };
        let driver = Driver {
            task: start.id,
            delivery: 0,
        };
        record.driver = Some(driver.clone());
        record.inbox.push(self.task.clone());
        self.base = Some(Versioned {
            record: Arc::new(record),
            revision: 0,
        });
        let Some(shape) = self.shape().cloned() else {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        };
        let mut draft = self.draft(&shape);
        draft.settle_in();
        let author = Author {
            driver,
            confirmed: HashSet::new(),
        };
        let mut record = draft.close(&author);
        if self.task.stops_at_once() {
            record.status = WorkflowStatus::Stopped;
        }
        self.write(record, Stage::Appending)
    }
}
