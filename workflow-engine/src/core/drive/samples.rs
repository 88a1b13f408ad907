//! What the tests of single deliveries are about: a definition with one state in which a person works.

use std::sync::Arc;

use mcp_runtime::Token;

use crate::{
    core::simulation::{name, state},
    shape::{StateKind, WorkflowEvents, WorkflowShape},
    task::{Task, Verb},
};

pub(super) fn shape(version: &str) -> Arc<WorkflowShape> {
    Arc::new(WorkflowShape {
        name: name("trial"),
        version: version.to_owned(),
        initial: name("desk"),
        states: vec![state("desk", StateKind::Manual, &[])],
        on_error: None,
        events: WorkflowEvents::All,
        indexes: Vec::new(),
        migrates_from: Vec::new(),
    })
}

pub(super) fn task(verb: Verb, id: &str) -> Task {
    let mut task = Task::new(verb, name("trial"), Token::new("w").unwrap(), 1);
    task.id = id.to_owned();
    task
}
