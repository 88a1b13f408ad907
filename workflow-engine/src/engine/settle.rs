//! How a delivery ends: answered, acknowledged, given back, or buried.

use std::time::Duration;

use mcp_runtime::{
    Format, McpError, Name, Raw, code,
    transport::{self, Answering, Delivered},
};

use crate::{
    core::End,
    failpoint::failpoint,
    record::WorkflowRecord,
    task::{Task, Verb},
};

use super::{
    home::{Home, PAUSE, herald},
    relations,
};

/// How a delivery ended, and the task with it.
pub(super) struct Ended {
    pub(super) task: Task,
    pub(super) end: End,
}

pub(super) async fn settle(home: &Home, delivered: Delivered, ended: Ended) {
    let Ended { task, end } = ended;
    match end {
        End::Silent => {}
        End::Later(delay) => {
            failpoint("engine.giving_back");
            delivered.lease.give_back(spread(delay)).await;
        }
        End::Done(answered) => {
            if !delivered.lease.is_held() {
                return;
            }
            match answered {
                // Nobody waits to hear of it, so it is kept where somebody can find it.
                Some(Err(error)) if task.reply_to.is_none() && task.task != Verb::Wake => {
                    if let Err(error) = relations::tell_refused(home, &task, &error).await {
                        tracing::warn!(%error, "a parent is not told yet that its child was refused");
                        return delivered.lease.give_back(spread(PAUSE)).await;
                    }
                    return bury(home, delivered, *error).await;
                }
                Some(Ok(record)) => answer(home, &task, Ok(&record)).await,
                Some(Err(error)) => answer(home, &task, Err(*error)).await,
                None => {}
            }
            failpoint("engine.before_ack");
            delivered.lease.acknowledge().await;
        }
    }
}

/// Later than asked for by up to half a second, never sooner.
///
/// The server hands what comes back to the engines in turn. Tasks that were given back together, for versions that other
/// engines have, would come back together and in the same order, each to the same wrong engine for ever.
fn spread(delay: Duration) -> Duration {
    const WIDEST: Duration = Duration::from_millis(500);
    delay + delay.min(WIDEST).mul_f64(rand::random())
}

/// Keeps a task that cannot be handled, and answers it where it still says whom.
pub(super) async fn bury(home: &Home, delivered: Delivered, error: McpError) {
    let Delivered {
        message,
        info,
        lease,
    } = delivered;
    tracing::warn!(subject = %message.subject, code = error.code, "a workflow task cannot be handled");
    let definition = message.subject.split('.').nth(2).map(Name::new);
    let Some(Ok(definition)) = definition else {
        return;
    };
    if let Some((format, reply)) = readable_reply(&message) {
        let to = answering(home, reply.reply_to, reply.id, format);
        transport::answer(&home.client, to, Err(error.clone())).await;
    }
    let place = (&herald(), &definition);
    match transport::bury(&home.client, &message, &info, place, error).await {
        Ok(()) => {
            failpoint("engine.buried");
            lease.terminate().await;
        }
        Err(error) => {
            tracing::error!(%error, "a dead letter could not be stored, the task stays queued");
        }
    }
}

/// What is left of a task that cannot be read, if it says whom to answer.
#[derive(serde::Deserialize)]
struct Readable {
    reply_to: String,
    #[serde(default)]
    id: String,
}

fn readable_reply(message: &async_nats::Message) -> Option<(Format, Readable)> {
    let format = Format::of_message(message).ok()?;
    Some((format, format.decode(&message.payload).ok()?))
}

pub(super) async fn answer(home: &Home, task: &Task, outcome: Result<&WorkflowRecord, McpError>) {
    let Some(reply_to) = task.reply_to.clone() else {
        return;
    };
    let format = match task.json {
        true => Format::Json,
        false => Format::Msgpack,
    };
    let to = answering(home, reply_to, task.id.clone(), format);
    transport::answer(&home.client, to, encoded(outcome)).await;
}

pub(super) fn answering(
    home: &Home,
    reply_to: String,
    request_id: String,
    format: Format,
) -> Answering {
    Answering {
        reply_to,
        request_id,
        source: herald(),
        instance: home.instance.to_string(),
        format,
    }
}

pub(super) fn encoded(outcome: Result<&WorkflowRecord, McpError>) -> Result<Raw, McpError> {
    let record = outcome?;
    Raw::encode(record)
        .map_err(|error| McpError::permanent(code::INTERNAL).message(error.to_string()))
}
