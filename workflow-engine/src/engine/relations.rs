//! What a workflow and its children tell each other: tasks with derived ids.

use std::time::Duration;

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, McpError, Name, Token, code,
    transport::{self, StoreError},
};
use tokio::time::Instant;

use crate::{
    record::{ChildEnd, ChildStart, Parent, WorkflowRecord, WorkflowStatus},
    task::{Task, Verb},
};

use super::{
    effects::{PUBLISH_TIME, is_final},
    home::{Home, PAUSE},
};

/// How long a definition that nobody has ever brought is waited for: agents are started side by side.
const FIRST_SEEN: Duration = Duration::from_secs(5);

/// A start that cannot be is told to the parent as the failure of that child.
pub(super) async fn start(
    home: &Home,
    record: &WorkflowRecord,
    children: &[ChildStart],
) -> Result<(), StoreError> {
    let patience = Instant::now() + FIRST_SEEN;
    for child in children {
        // Told so by an earlier delivery of this effect: whoever was said to have failed must not begin after all.
        if record.knows_end_of(&child.id) {
            continue;
        }
        let started = match until_known(home, &child.definition, patience).await? {
            true => start_one(home, record, child).await,
            false => Err(unknown(&child.definition)),
        };
        match started {
            Ok(()) => {}
            Err(Unstarted::Later(error)) => return Err(error),
            Err(Unstarted::Never(error)) => {
                let end = never_begun(&child.id, error);
                tell(home, &record.definition, &own(record), &end).await?;
            }
        }
    }
    Ok(())
}

/// Why a child has not begun.
enum Unstarted {
    Later(StoreError),
    Never(McpError),
}

fn unknown(definition: &Name) -> Unstarted {
    let message =
        format!("there is no workflow definition `{definition}`; start an agent that has it");
    Unstarted::Never(McpError::permanent(code::NO_SUCH_DEFINITION).message(message))
}

async fn start_one(
    home: &Home,
    record: &WorkflowRecord,
    child: &ChildStart,
) -> Result<(), Unstarted> {
    let id = child.id.clone();
    let mut task = Task::new(Verb::Start, child.definition.clone(), id, home.now_ms());
    task.id = format!("{}.start", child.id);
    task.data = Some(child.data.clone());
    task.parent = Some(own(record));
    task.conversation_id.clone_from(&record.conversation_id);
    task.traceparent.clone_from(&record.traceparent);
    match publish(home, &task).await {
        // Its own, sent before; or that of another workflow, under whose message id the stream has forgotten this one.
        Ok(Stored::Before) if is_taken(home, child).await.map_err(Unstarted::Later)? => {
            let message = format!("`{}` is a workflow of another definition", child.id);
            let taken = McpError::permanent(code::WORKFLOW_EXISTS).message(message);
            Err(Unstarted::Never(taken))
        }
        Ok(_) => Ok(()),
        Err(error) if is_final(&error) => {
            let code = match &error {
                StoreError::Denied { .. } => code::PERMISSION_DENIED,
                _ => code::INVALID_PARAMETERS,
            };
            let never = McpError::permanent(code).message(error.to_string());
            Err(Unstarted::Never(never))
        }
        Err(error) => Err(Unstarted::Later(error)),
    }
}

async fn is_taken(home: &Home, child: &ChildStart) -> Result<bool, StoreError> {
    let id = child.id.as_str();
    let start = home.store.find_start(None, id).await?;
    let found = home.store.read_fresh(id).await?;
    let definition = found.map(|found| found.record.definition.clone());
    let definition = definition.or(start.map(|start| start.definition));
    Ok(definition.is_some_and(|definition| definition != child.definition))
}

/// Whether any engine has ever brought a definition. Nobody would ever take up a start of one that none has.
async fn until_known(
    home: &Home,
    definition: &Name,
    patience: Instant,
) -> Result<bool, StoreError> {
    loop {
        if home.knows(definition).await? {
            return Ok(true);
        }
        if Instant::now() >= patience {
            return Ok(false);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn stop(
    home: &Home,
    record: &WorkflowRecord,
    epoch: u64,
    children: &[(Token, Name)],
    compensate: bool,
) -> Result<(), StoreError> {
    for (id, definition) in children {
        let mut task = Task::new(Verb::Stop, definition.clone(), id.clone(), home.now_ms());
        task.id = format!("{id}.{epoch}.stop");
        task.parent = Some(own(record));
        task.reason = Some(format!("its parent `{}` was stopped", record.id));
        task.compensate = compensate;
        match publish(home, &task).await {
            // The others are to stop all the same.
            Err(error) if is_final(&error) => {
                tracing::error!(%error, child = %id, "a child cannot be told to stop");
            }
            told => {
                told?;
            }
        }
    }
    Ok(())
}

/// Tells a parent how a child of the definition `by` has ended. Where that cannot be, for want of a right or of room, it
/// becomes a dead letter: the parent may wait for it without an end, until a person sends it on.
pub(super) async fn tell(
    home: &Home,
    by: &Name,
    parent: &Parent,
    end: &ChildEnd,
) -> Result<(), StoreError> {
    let (definition, id) = (parent.definition.clone(), parent.workflow_id.clone());
    let task = end.task(definition, id, home.now_ms()).map_err(refused)?;
    match publish(home, &task).await {
        Err(error) if is_final(&error) => {
            tracing::error!(%error, parent = %parent.workflow_id, "a parent cannot be told that its child has ended");
            let code = match &error {
                StoreError::Denied { .. } => code::PERMISSION_DENIED,
                StoreError::TooLarge { .. } => code::PAYLOAD_TOO_LARGE,
                _ => code::INTERNAL,
            };
            let error = McpError::permanent(code).message(error.to_string());
            bury(home, by, &task, error).await
        }
        told => told.map(drop),
    }
}

/// Keeps a task as a dead letter of the definition `by`.
pub(super) async fn bury(
    home: &Home,
    by: &Name,
    task: &Task,
    error: McpError,
) -> Result<(), StoreError> {
    let body = task.encode().map_err(|error| refused(error.to_string()))?;
    let subject = home.store.task_subject(task);
    let id = format!("dead.{}.{}", task.workflow_id, task.id);
    let place = (home.herald.name(), by);
    transport::bury_copy(&home.client, &subject, body, &id, place, error).await
}

/// A start that is refused has no record that could tell its parent.
pub(super) async fn tell_refused(
    home: &Home,
    start: &Task,
    error: &McpError,
) -> Result<(), StoreError> {
    let Some(parent) = start.parent.as_ref().filter(|_| start.task == Verb::Start) else {
        return Ok(());
    };
    let end = never_begun(&start.workflow_id, error.clone());
    match tell(home, &start.definition, parent, &end).await {
        // Not even as a dead letter.
        Err(error) if is_final(&error) => {
            tracing::error!(%error, "a parent cannot be told that its child was refused");
            Ok(())
        }
        told => told,
    }
}

fn never_begun(id: &Token, error: McpError) -> ChildEnd {
    ChildEnd {
        id: id.clone(),
        epoch: 0,
        status: WorkflowStatus::Failed,
        data: None,
        error: Some(error),
    }
}

fn own(record: &WorkflowRecord) -> Parent {
    Parent {
        workflow_id: record.id.clone(),
        definition: record.definition.clone(),
    }
}

fn refused(description: String) -> StoreError {
    StoreError::Refused {
        code: 0,
        description,
    }
}

/// Whether a task was new to its stream.
enum Stored {
    Now,
    Before,
}

async fn publish(home: &Home, task: &Task) -> Result<Stored, StoreError> {
    let body = task.encode().map_err(|error| refused(error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", task.message_id());
    headers.insert("Content-Type", Format::Msgpack.content_type());
    if task.task == Verb::Start {
        // One that still waits or runs is recognised also when the stream has forgotten its id.
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    }
    let subject = home.store.task_subject(task);
    match transport::publish(&home.client, subject, headers, body, PUBLISH_TIME).await {
        Ok(true) => Ok(Stored::Before),
        Ok(false) => Ok(Stored::Now),
        Err(error) if error.is_conflict() => Ok(Stored::Before),
        Err(error) => Err(error),
    }
}
