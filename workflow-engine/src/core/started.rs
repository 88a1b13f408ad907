//! The record that a start task stands for.

use std::sync::Arc;

use mcp_runtime::{McpError, Raw, Token};

use crate::{
    checkpoint::WorkflowCheckpoint,
    record::{WorkflowRecord, WorkflowStatus},
    shape::WorkflowShape,
    task::Task,
};

use super::{codes, draft::merged, refusal};

/// The versions of one definition that an engine has, the newest last.
pub(crate) type Shapes = Vec<Arc<WorkflowShape>>;

/// The record that a start task stands for, before anything has run.
pub(crate) fn started(
    task: &Task,
    shapes: &Shapes,
    origin: Option<&WorkflowCheckpoint>,
    now_ms: u64,
) -> Result<WorkflowRecord, McpError> {
    let newest = shapes.last();
    let hosted = |version: &String| shapes.iter().find(|shape| shape.version == *version);
    // A fork stays on its origin's version, whichever engine gets it: the data are of that version.
    let origins = origin.and_then(|origin| origin.version.clone());
    let version = task
        .version
        .clone()
        .or(origins)
        .or(newest.map(|shape| shape.version.clone()));
    let version = version.unwrap_or_default();
    let shape = hosted(&version);
    let state = task
        .state
        .clone()
        .or(origin.map(|origin| origin.state.clone()))
        .or(shape.map(|shape| shape.initial.clone()));
    // Of a version that is not here only the newest one's beginning can be guessed; it is parked there.
    let Some(state) = state.or(newest.map(|shape| shape.initial.clone())) else {
        return Err(refusal(
            codes::NO_SUCH_STATE,
            "the definition has no states".to_owned(),
        ));
    };
    // What a migration makes of the origin's state is seen when it has run.
    let migrates = |shape: &WorkflowShape| {
        let of = origin.and_then(|origin| origin.version.as_ref());
        task.state.is_none() && of.is_some_and(|of| shape.migrates_from.contains(of))
    };
    if let Some(shape) = shape.filter(|shape| shape.state(&state).is_none() && !migrates(shape)) {
        let states = shape.states.iter().map(|state| state.name.as_str());
        let states = states.collect::<Vec<_>>().join(", ");
        let message = format!("`{}` has no state `{state}`; it has {states}", shape.name);
        return Err(refusal(codes::NO_SUCH_STATE, message));
    }
    Ok(WorkflowRecord {
        id: task.workflow_id.clone(),
        definition: task.definition.clone(),
        version,
        state,
        status: WorkflowStatus::Running,
        data: beginning(task, origin),
        epoch: 0,
        entry: 1,
        attempt: 1,
        driver: None,
        inbox: Vec::new(),
        taken: vec![task.id.clone()],
        signals: Vec::new(),
        wake_in_ms: None,
        error: None,
        created_at: now_ms,
        updated_at: now_ms,
        history: Vec::new(),
        pending: Vec::new(),
        parent: parent(task),
        conversation_id: task.conversation_id.clone(),
        traceparent: task.traceparent.clone(),
        park_reason: None,
        stop_reason: None,
        compensation: None,
        progress: Vec::new(),
        children: Vec::new(),
        child_of: task.parent.clone(),
        wait: None,
        received: None,
        timed_out: false,
        entered: false,
        rest: None,
        takeovers: 0,
    })
}

/// The workflow that started it, or that it is a fork of.
fn parent(task: &Task) -> Option<Token> {
    let parent = task.parent.as_ref().map(|parent| &parent.workflow_id);
    let origin = task.from.as_ref().map(|from| &from.workflow_id);
    parent.or(origin).cloned()
}

/// The start's own data; over those of a fork's origin, by the keys of a map.
fn beginning(task: &Task, origin: Option<&WorkflowCheckpoint>) -> Raw {
    match (origin, &task.data) {
        (None, data) => data.clone().unwrap_or_else(Raw::empty_map),
        (Some(origin), None) => origin.data.clone(),
        (Some(origin), Some(data)) => merged(&origin.data, data),
    }
}
