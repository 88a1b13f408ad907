//! `mcpctl dead`: commands that could not be handled.

mod delete;
mod list;
mod redrive;
mod selection;
mod show;

use clap::Subcommand;
use mcp_agent_sdk::runtime::DeadLetter;
use serde_json::{Value, json};

use crate::{cli::Global, failure::Failure};

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// Lists them, the oldest first
    List(list::ListArgs),
    /// Shows one with its autopsy: the errors of every attempt, its headers and its body
    Show(show::ShowArgs),
    /// Sends them again, to where they were sent before
    Redrive(redrive::RedriveArgs),
    /// Deletes them for good
    Delete(delete::DeleteArgs),
}

pub(crate) async fn run(command: DeadCommand, global: &Global) -> Result<(), Failure> {
    match command {
        DeadCommand::List(args) => list::run(args, global).await,
        DeadCommand::Show(args) => show::run(args, global).await,
        DeadCommand::Redrive(args) => redrive::run(args, global).await,
        DeadCommand::Delete(args) => delete::run(args, global).await,
    }
}

/// A letter as `--json` shows it.
fn document(letter: &DeadLetter) -> Value {
    json!({
        "sequence": letter.sequence,
        "id": letter.id,
        "agent": letter.agent,
        "action": letter.action,
        "lane": letter.lane().map(|lane| lane.as_str()),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "errors": letter.errors,
        "original_subject": letter.original_subject,
        "age_ms": u64::try_from(letter.age.as_millis()).unwrap_or(u64::MAX),
        "stored_at": letter.stored_at_ms,
        "size": letter.size,
        "redriven_from": letter.redriven_from,
    })
}

/// One line about a letter.
fn in_words(letter: &DeadLetter) -> String {
    format!(
        "{}  {}.{}  {}  {}",
        letter.sequence, letter.agent, letter.action, letter.reason, letter.id
    )
}

/// `1 dead letter`, `3 dead letters`.
fn count(number: usize) -> String {
    match number {
        1 => "1 dead letter".to_owned(),
        number => format!("{number} dead letters"),
    }
}
