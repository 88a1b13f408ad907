//! Noting how far a state has come while it runs: a write like any other, but what is lost of it is only news.

use std::sync::Arc;

use crate::record::{LabelProgress, WorkflowRecord};

use super::{
    Action, Drive, End, Stage, Versioned,
    run::{begins_alike, is_continued},
};

impl Drive {
    pub(super) fn note(&mut self, progress: Vec<LabelProgress>) -> Action {
        let Some(shape) = self.shape().cloned() else {
            return self.run_on();
        };
        let mut draft = self.draft(&shape);
        draft.record.progress = progress;
        let record = draft.close(&self.author);
        self.write(record, Stage::Noting)
    }

    /// The first write of a workflow brings its first event with it.
    pub(super) fn noted(&mut self, revision: u64) -> Action {
        let Some(record) = self.writing.take() else {
            return Action::End(End::Silent);
        };
        self.base = Some(Versioned { record, revision });
        let effects = self.unbegun();
        if effects.is_empty() {
            return self.run_on();
        }
        self.stage = Stage::Noted;
        Action::Confirm {
            effects,
            wait: false,
        }
    }

    pub(super) fn run_on(&mut self) -> Action {
        self.stage = Stage::Running;
        Action::GoOnRunning
    }

    /// Somebody has put something into the inbox, or has taken over; then the run is not wanted any more.
    pub(super) fn compare_noting(&mut self, found: Option<Box<Versioned>>) -> Action {
        let Some(mut found) = found else {
            return Action::End(End::Silent);
        };
        if self.writing.as_ref() == Some(&found.record) {
            return self.noted(found.revision);
        }
        let own = &self.author.driver;
        let driver = found.record.driver.as_ref();
        let delivery = driver.filter(|driver| driver.task == own.task);
        let Some(delivery) = delivery.map(|driver| driver.delivery) else {
            return Action::End(End::Silent);
        };
        let same_state = |known: &&WorkflowRecord| begins_alike(known, &found.record);
        let known = (self.record()).filter(|_| delivery == 0);
        if let Some(known) = known.filter(same_state) {
            // As for a result: a start that names no version gets that of the engine which runs it.
            Arc::make_mut(&mut found.record)
                .version
                .clone_from(&known.version);
        }
        let undisturbed = (self.record()).is_some_and(|known| is_continued(known, &found.record));
        if !undisturbed || (delivery != own.delivery && delivery != 0) {
            return Action::End(End::Silent);
        }
        self.base = Some(*found);
        self.run_on()
    }
}
