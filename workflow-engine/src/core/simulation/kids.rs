//! The children of the simulated workflow, as far as it notices them: they start, end, and tell so.

use std::collections::BTreeMap;

use mcp_runtime::{Name, Token};

use crate::record::{ChildEnd, ChildStart, WorkflowStatus};

use super::{client::Client, world::World};

/// Each with the status that it will end with once it was stopped.
#[derive(Debug, Default)]
pub(super) struct Kids {
    running: BTreeMap<Token, Option<WorkflowStatus>>,
    pub(super) ended: BTreeMap<Token, ChildEnd>,
}

impl Kids {
    pub(super) fn run(&self) -> bool {
        !self.running.is_empty()
    }

    /// A start that comes twice starts once.
    pub(super) fn start(&mut self, children: &[ChildStart]) {
        for child in children {
            if !self.ended.contains_key(&child.id) {
                self.running.entry(child.id.clone()).or_default();
            }
        }
    }

    pub(super) fn stop(&mut self, children: &[(Token, Name)]) {
        for (id, _) in children {
            let started = self.running.contains_key(id) || self.ended.contains_key(id);
            assert!(started, "`{id}` is stopped before it is started");
            if let Some(will) = self.running.get_mut(id) {
                *will = Some(WorkflowStatus::Stopped);
            }
        }
    }
}

impl World {
    /// One child ends, and its parent is told; at times twice, and at times it ends again after a resume.
    pub(super) fn end_a_child(&mut self) {
        let ids: Vec<Token> = self.kids.running.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.dice.pick(&ids).clone();
        let will = self.kids.running.remove(&id).flatten();
        let failed = self.dice.percent(40);
        let status = match failed {
            true => WorkflowStatus::Failed,
            false => WorkflowStatus::Completed,
        };
        let mut end = ChildEnd {
            id: id.clone(),
            epoch: 7,
            status: will.unwrap_or(status),
            data: None,
            error: None,
        };
        self.seen.children += 1;
        self.enqueue(Client::child_ended(&end));
        if self.dice.percent(20) {
            // Its own message, as one is that is stored after the deduplication window.
            let mut again = Client::child_ended(&end);
            again.id += ".again";
            self.enqueue(again);
        }
        if failed && self.dice.percent(30) {
            end.epoch = 9;
            end.status = WorkflowStatus::Completed;
            self.enqueue(Client::child_ended(&end));
        }
        self.kids.ended.insert(id, end);
    }

    /// Whatever was started has ended by now, and the record knows how; nobody waits for it.
    pub(super) fn check_the_kids(&self) {
        let Some(record) = self.store.record() else {
            return;
        };
        for child in &record.children {
            let end = self.kids.ended.get(&child.id);
            let end = end.unwrap_or_else(|| panic!("{child:?} was never started: {record:#?}"));
            assert_eq!(child.status, Some(end.status), "{record:#?}");
        }
        let known = |id: &Token| record.children.iter().any(|child| child.id == *id);
        assert!(self.kids.ended.keys().all(known), "an orphan: {record:#?}");
        let wait = record.wait.as_ref().and_then(|wait| wait.children.as_ref());
        assert!(
            wait.is_none(),
            "it waits for children that have all ended: {record:#?}"
        );
    }
}
