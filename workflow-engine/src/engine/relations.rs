//! What a workflow and its children tell each other: tasks with derived ids.

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, McpError, Name, Raw, Token,
    transport::{self, StoreError},
};

use crate::{
    record::{CHILD_ENDED, ChildEnd, ChildStart, Parent, WorkflowRecord, WorkflowStatus},
    task::{Task, Verb},
};

use super::{effects::PUBLISH_TIME, home::Home};

pub(super) async fn start(
    home: &Home,
    record: &WorkflowRecord,
    children: &[ChildStart],
) -> Result<(), StoreError> {
    for child in children {
        let id = child.id.clone();
        let mut task = Task::new(Verb::Start, child.definition.clone(), id, home.now_ms());
        task.id = format!("{}.start", child.id);
        task.data = Some(child.data.clone());
        task.parent = Some(own(record));
        task.conversation_id.clone_from(&record.conversation_id);
        task.traceparent.clone_from(&record.traceparent);
        publish(home, &task).await?;
    }
    Ok(())
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
        publish(home, &task).await?;
    }
    Ok(())
}

pub(super) async fn tell(home: &Home, parent: &Parent, end: &ChildEnd) -> Result<(), StoreError> {
    let id = parent.workflow_id.clone();
    let mut task = Task::new(Verb::Signal, parent.definition.clone(), id, home.now_ms());
    task.id = format!("{}.{}.ended", end.id, end.epoch);
    task.name = Some(Name::new(CHILD_ENDED).map_err(|error| refused(error.to_string()))?);
    task.data = Some(Raw::encode(end).map_err(|error| refused(error.to_string()))?);
    publish(home, &task).await
}

/// A start that is refused has no record that could tell its parent.
pub(super) async fn tell_refused(home: &Home, start: &Task, error: &McpError) {
    let Some(parent) = start.parent.as_ref().filter(|_| start.task == Verb::Start) else {
        return;
    };
    let end = ChildEnd {
        id: start.workflow_id.clone(),
        epoch: 0,
        status: WorkflowStatus::Failed,
        data: None,
        error: Some(error.clone()),
    };
    if let Err(error) = tell(home, parent, &end).await {
        tracing::error!(%error, "a parent cannot be told that its child was refused");
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

async fn publish(home: &Home, task: &Task) -> Result<(), StoreError> {
    let body = task.encode().map_err(|error| refused(error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", task.message_id());
    headers.insert("Content-Type", Format::Msgpack.content_type());
    let subject = home.store.task_subject(task);
    transport::publish(&home.client, subject, headers, body, PUBLISH_TIME)
        .await
        .map(drop)
}
