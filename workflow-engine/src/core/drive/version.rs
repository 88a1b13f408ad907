//! By which version of the definition a task is handled.

use std::sync::Arc;

use crate::{
    shape::WorkflowShape,
    task::{Task, Verb},
};

use super::{Action, Drive, Stage};

impl Drive {
    /// A stop needs no more of the definition than any version of it has, and what has ended is only looked at: it is
    /// not parked for a late signal.
    pub(super) fn shape_for_task(&self) -> Option<Arc<WorkflowShape>> {
        if self.task.task == Verb::Migrate {
            let known = self.shape().filter(|_| self.migrates_to_itself()).cloned();
            return self.target_of(&self.task).or(known);
        }
        let ended = (self.record()).is_some_and(|record| record.status.is_ended());
        let any = match self.task.task {
            Verb::Stop => true,
            Verb::Restore | Verb::Resume => false,
            _ => ended,
        };
        let newest = || self.shapes.last().filter(|_| any);
        self.shape().or_else(newest).cloned()
    }

    /// The version that a migration leads to, when this engine has it.
    pub(super) fn target_of(&self, task: &Task) -> Option<Arc<WorkflowShape>> {
        let version = task
            .version
            .as_deref()
            .filter(|_| task.task == Verb::Migrate)?;
        let mut shapes = self.shapes.iter();
        shapes.find(|shape| shape.version == version).cloned()
    }

    pub(super) fn migrates_to_itself(&self) -> bool {
        self.record().map(|record| record.version.as_str()) == self.task.version.as_deref()
    }

    pub(super) fn ask_for_version(&mut self) -> Action {
        let own = self.record().map(|record| record.version.clone());
        let target = self.task.version.clone();
        let version = target.filter(|_| self.task.task == Verb::Migrate).or(own);
        self.stage = Stage::Asking;
        Action::AskForVersion(version.unwrap_or_default())
    }
}
