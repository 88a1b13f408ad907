//! `mcpctl messages`: what is stored: the queue, outcomes and dead letters together.

mod list;
mod show;

use clap::{Args, Subcommand};
use mcp_agent_sdk::runtime::persistence::{
    JetStreamPersistence, MessagePersistence, PersistenceError, Reference, StoredMessage,
};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, utc},
};

pub(super) use show::raw;

/// What can be done with stored messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MessagesCommand {
    /// Lists them: the queue first, then outcomes, then dead letters, each the oldest first
    List(list::ListArgs),
    /// Shows one with its headers and its body, by its id
    Show(show::ShowArgs),
    /// Deletes queued commands and dead letters for good, by their ids
    Delete(DeleteArgs),
}

/// Deletes queued commands and dead letters for good.
///
/// A handler that runs already is not stopped by it: see `mcpctl cancel`. Nobody is answered. Outcomes stay, because
/// they protect their idempotency keys.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The ids of the messages
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) async fn run(command: MessagesCommand, global: &Global) -> Result<(), Failure> {
    match command {
        MessagesCommand::List(args) => list::run(args, global).await,
        MessagesCommand::Show(args) => show::run(args, global).await,
        MessagesCommand::Delete(args) => delete(args, global).await,
    }
}

async fn delete(args: DeleteArgs, global: &Global) -> Result<(), Failure> {
    let store = JetStreamPersistence::new(&global.connect().await?);
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for id in &args.ids {
        let reason = match store.delete(id).await {
            Ok(0) => "there is no such message".to_owned(),
            Ok(copies) => {
                deleted.push(json!({ "id": id, "copies": copies }));
                if !global.json {
                    output::line(format!("deleted {id}"));
                }
                continue;
            }
            Err(error @ PersistenceError::Server { .. }) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        if !global.json {
            output::note(format!("{id}: {reason}"));
        }
        failed.push(json!({ "id": id, "reason": reason }));
    }
    let document = json!({ "deleted": deleted, "failed": failed });
    if failed.is_empty() {
        if global.json {
            output::json(&document);
        }
        return Ok(());
    }
    let sentence = format!(
        "{} of {} messages were not deleted",
        failed.len(),
        args.ids.len()
    );
    Err(Failure::answered(sentence).document(document))
}

/// A message as `--json` shows it.
fn document(message: &StoredMessage) -> Value {
    json!({
        "id": message.id,
        "agent": message.agent,
        "action": message.action,
        "lane": message.lane.map(|lane| lane.as_str()),
        "state": message.state.as_str().replace(' ', "-"),
        "age_ms": u64::try_from(message.age.as_millis()).unwrap_or(u64::MAX),
        "stored_at": message.stored_at_ms,
        "attempts": message.attempts,
        "size": message.size,
        "subject": message.subject,
        "lies_in": place(&message.reference),
        "sequence": sequence(&message.reference),
        "error": message.error,
    })
}

fn place(reference: &Reference) -> &'static str {
    match reference {
        Reference::Queue { .. } => "queue",
        Reference::Delayed { .. } => "delayed",
        Reference::Outcome { .. } => "outcomes",
        Reference::DeadLetter { .. } => "dead letters",
        _ => "elsewhere",
    }
}

fn sequence(reference: &Reference) -> Option<u64> {
    match reference {
        Reference::Queue { sequence }
        | Reference::Delayed { sequence }
        | Reference::DeadLetter { sequence }
        | Reference::Outcome {
            revision: sequence, ..
        } => Some(*sequence),
        _ => None,
    }
}

/// When it was stored, for people.
fn stored_at(message: &StoredMessage) -> String {
    utc(u64::try_from(message.stored_at_ms).unwrap_or_default())
}
