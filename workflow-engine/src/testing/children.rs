//! The children of a test: no workflows, but ends out of a script, as the agents' answers are.

use std::collections::{BTreeMap, BTreeSet};

use mcp_runtime::{Name, Token};

use crate::record::{ChildEnd, ChildStart, WorkflowStatus};

use super::{error::WorkflowTestError, script::Answer};

/// How the children of one definition end.
#[derive(Clone)]
pub(super) enum Ending {
    /// At once: completed with these data, or failed with this error.
    With(Answer),
    /// Not before they are stopped.
    Never,
}

/// The endings by definition.
#[derive(Clone, Default)]
pub(super) struct Endings(BTreeMap<String, Ending>);

impl Endings {
    pub(super) fn add(&mut self, definition: &str, ending: Ending) {
        self.0.insert(definition.to_owned(), ending);
    }
}

/// The children of one run.
pub(super) struct Kids {
    endings: Endings,
    started: BTreeSet<Token>,
    running: BTreeSet<Token>,
}

impl Kids {
    pub(super) fn new(endings: Endings) -> Self {
        Self {
            endings,
            started: BTreeSet::new(),
            running: BTreeSet::new(),
        }
    }

    /// Each starts once, however often it is asked for. Returns those that have ended.
    pub(super) fn start(
        &mut self,
        children: &[ChildStart],
    ) -> Result<Vec<ChildEnd>, WorkflowTestError> {
        let mut ended = Vec::new();
        for child in children {
            let ending = self.endings.0.get(child.definition.as_str());
            let unscripted = || WorkflowTestError::UnscriptedChild {
                definition: child.definition.to_string(),
                scripted: self.endings.0.keys().cloned().collect(),
            };
            let ending = ending.ok_or_else(unscripted)?;
            if !self.started.insert(child.id.clone()) {
                continue;
            }
            match ending {
                Ending::With(answer) => ended.push(end(&child.id, answer, child)),
                Ending::Never => drop(self.running.insert(child.id.clone())),
            }
        }
        Ok(ended)
    }

    pub(super) fn stop(&mut self, children: &[(Token, Name)]) -> Vec<ChildEnd> {
        let stopped = children.iter().filter(|(id, _)| self.running.remove(id));
        let stopped = stopped.map(|(id, _)| ChildEnd {
            id: id.clone(),
            epoch: 1,
            status: WorkflowStatus::Stopped,
            data: None,
            error: None,
        });
        stopped.collect()
    }
}

fn end(id: &Token, answer: &Answer, child: &ChildStart) -> ChildEnd {
    let outcome = answer.to(&child.data);
    ChildEnd {
        id: id.clone(),
        epoch: 1,
        status: match &outcome {
            Ok(_) => WorkflowStatus::Completed,
            Err(_) => WorkflowStatus::Failed,
        },
        data: outcome.as_ref().ok().cloned(),
        error: outcome.err(),
    }
}
