//! What can be wrong with a definition, found before anything runs by it.

use std::collections::BTreeSet;

use mcp_runtime::{InvalidName, Name};

use crate::shape::{StateKind, StateRetry, StateShape, WorkflowEvents, WorkflowShape, millis};

use super::{migration::Migrations, state::WorkflowState};

/// A definition that cannot be run, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workflow definition `{definition}`: {}", mistakes.join("; "))]
#[non_exhaustive]
pub struct DefinitionError {
    /// The definition.
    pub definition: String,
    /// What is wrong, each naming its state.
    pub mistakes: Vec<String>,
}

pub(super) fn shape<S: Send + Sync + 'static>(
    name: &str,
    version: &str,
    initial: Option<&str>,
    on_error: Option<&str>,
    events: WorkflowEvents,
    migrations: &Migrations,
    states: &[(String, WorkflowState<S>)],
) -> Result<WorkflowShape, DefinitionError> {
    let mut mistakes = Vec::new();
    let shape = read(name, version, initial, on_error, states, &mut mistakes);
    if let Some(shape) = &shape {
        mistakes.extend(graph_mistakes(shape));
    }
    let mut migrates_from: Vec<String> = migrations.keys().cloned().collect();
    migrates_from.sort();
    if migrates_from.iter().any(|from| from == version) {
        mistakes.push(format!("version {version} is to migrate from itself"));
    }
    match (shape, mistakes.is_empty()) {
        (Some(shape), true) => Ok(WorkflowShape {
            events,
            migrates_from,
            ..shape
        }),
        _ => Err(DefinitionError {
            definition: name.to_owned(),
            mistakes,
        }),
    }
}

/// Fields that a definition may declare for the search, and the length of their names.
const MAX_INDEXES: usize = 16;
const MAX_INDEX_LEN: usize = 64;

/// The definition with the fields that it is searched by.
pub(super) fn indexed(
    shape: WorkflowShape,
    fields: &[String],
) -> Result<WorkflowShape, DefinitionError> {
    let mut mistakes = Vec::new();
    if fields.len() > MAX_INDEXES {
        mistakes.push(format!(
            "it declares {} indexes, more than {MAX_INDEXES}",
            fields.len()
        ));
    }
    for (position, field) in fields.iter().enumerate() {
        let readable = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if field.is_empty() || field.len() > MAX_INDEX_LEN || !field.chars().all(readable) {
            mistakes.push(format!(
                "the index `{field}` must be the name of a field: 1 to {MAX_INDEX_LEN} letters, digits, `_`, `-` and dots"
            ));
        }
        if fields[..position].contains(field) {
            mistakes.push(format!("it declares the index `{field}` twice"));
        }
    }
    match mistakes.is_empty() {
        true => Ok(WorkflowShape {
            indexes: fields.to_vec(),
            ..shape
        }),
        false => Err(DefinitionError {
            definition: shape.name.to_string(),
            mistakes,
        }),
    }
}

/// The definition as data, when all of its names are names.
fn read<S: Send + Sync + 'static>(
    name: &str,
    version: &str,
    initial: Option<&str>,
    on_error: Option<&str>,
    states: &[(String, WorkflowState<S>)],
    mistakes: &mut Vec<String>,
) -> Option<WorkflowShape> {
    if !is_version(version) {
        mistakes.push(format!(
            "version `{version}` must be 1 to 32 letters, digits, `_`, `-` and dots between them"
        ));
    }
    let Some((first, _)) = states.first() else {
        mistakes.push("it has no states".to_owned());
        return None;
    };
    let mut note = |error: InvalidName| mistakes.push(error.to_string());
    let name = Name::new(name).map_err(&mut note).ok();
    let initial = Name::new(initial.unwrap_or(first)).map_err(&mut note).ok();
    let on_error = optional(on_error, &mut note);
    let states: Vec<Option<StateShape>> = states
        .iter()
        .map(|(name, state)| state_shape(name, state, mistakes))
        .collect();
    Some(WorkflowShape {
        name: name?,
        version: version.to_owned(),
        initial: initial?,
        states: states.into_iter().collect::<Option<_>>()?,
        on_error,
        events: WorkflowEvents::default(),
        indexes: Vec::new(),
        migrates_from: Vec::new(),
    })
}

fn optional(name: Option<&str>, note: &mut impl FnMut(InvalidName)) -> Option<Name> {
    name.and_then(|name| Name::new(name).map_err(note).ok())
}

fn state_shape<S: Send + Sync + 'static>(
    name: &str,
    state: &WorkflowState<S>,
    mistakes: &mut Vec<String>,
) -> Option<StateShape> {
    if state.kind == StateKind::Wait && state.then.is_none() {
        mistakes.push(format!(
            "`{name}` waits for something that leads nowhere; add `.then(…)`"
        ));
    }
    if state.kind == StateKind::Final && !state.to.is_empty() {
        mistakes.push(format!("`{name}` is an end, but leads on"));
    }
    if state.compensation.is_some() && state.kind != StateKind::Work {
        mistakes.push(format!("`{name}` runs nothing that could be compensated"));
    }
    if let Some(Err(error)) = state.compensation.as_ref().map(StateRetry::config) {
        mistakes.push(format!("the compensation retries of `{name}`: {error}"));
    }
    if let Err(error) = state.retry.config() {
        mistakes.push(format!("the retries of `{name}`: {error}"));
    }
    let mut note = |error: InvalidName| mistakes.push(error.to_string());
    let transitions = state
        .to
        .iter()
        .map(|to| Name::new(to).map_err(&mut note).ok());
    let transitions: Vec<Option<Name>> = transitions.collect();
    let (on_enter, on_exit) = state.has_hooks();
    Some(StateShape {
        name: Name::new(name).map_err(&mut note).ok()?,
        kind: state.kind,
        transitions: transitions.into_iter().collect::<Option<_>>()?,
        completes: state.completes,
        on_enter,
        on_exit,
        checkpoint: state.checkpoint,
        retry: state.retry.clone(),
        timeout_ms: state.timeout.map(millis),
        on_error: optional(state.on_error.as_deref(), &mut note),
        compensation: state.compensation.clone(),
        signal: optional(state.signal.as_deref(), &mut note),
        children: state.children.clone(),
        then: optional(state.then.as_deref(), &mut note),
        within_ms: state.within.map(millis),
        or_else: optional(state.or_else.as_deref(), &mut note),
    })
}

/// A key of a bucket: no empty tokens.
fn is_version(version: &str) -> bool {
    let token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    version.len() <= 32 && version.split('.').all(token)
}

fn graph_mistakes(shape: &WorkflowShape) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut seen = BTreeSet::new();
    for state in &shape.states {
        if !seen.insert(&state.name) {
            mistakes.push(format!("there are two states `{}`", state.name));
        }
        for to in ways_out(shape, state) {
            if shape.state(to).is_none() {
                mistakes.push(format!(
                    "`{}` leads to `{to}`, which is no state",
                    state.name
                ));
            }
        }
    }
    if shape.state(&shape.initial).is_none() {
        mistakes.push(format!(
            "it starts at `{}`, which is no state",
            shape.initial
        ));
    }
    // Both need a graph without holes.
    if mistakes.is_empty() {
        mistakes.extend(unreachable(shape));
        mistakes.extend(endless(shape));
    }
    mistakes
}

/// Everywhere a state can lead to, by its own decision or by failing.
fn ways_out<'a>(shape: &'a WorkflowShape, state: &'a StateShape) -> impl Iterator<Item = &'a Name> {
    let fails_to = state.on_error.as_ref().or(shape.on_error.as_ref());
    let fails_to = fails_to.filter(|to| state.kind != StateKind::Final && state.name != **to);
    state.transitions.iter().chain(fails_to)
}

fn unreachable(shape: &WorkflowShape) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![&shape.initial];
    while let Some(name) = next.pop() {
        if reached.insert(name)
            && let Some(state) = shape.state(name)
        {
            next.extend(ways_out(shape, state));
        }
    }
    let lost = shape
        .states
        .iter()
        .filter(|state| !reached.contains(&state.name));
    lost.map(|state| format!("`{}` is unreachable from `{}`", state.name, shape.initial))
        .collect()
}

/// States from which no end can be reached.
fn endless(shape: &WorkflowShape) -> Vec<String> {
    let ends = |state: &StateShape| state.kind == StateKind::Final || state.completes;
    let mut ending: BTreeSet<&Name> = (shape.states.iter())
        .filter(|state| ends(state))
        .map(|state| &state.name)
        .collect();
    // Each round finds at least one more, or is the last.
    for _ in 0..shape.states.len() {
        for state in &shape.states {
            if ways_out(shape, state).any(|to| ending.contains(to)) {
                ending.insert(&state.name);
            }
        }
    }
    let lost = shape
        .states
        .iter()
        .filter(|state| !ending.contains(&state.name));
    lost.map(|state| format!("`{}` has no way to an end", state.name))
        .collect()
}
