//! `mcpctl dead list`.

use clap::Args;
use mcp_agent_sdk::runtime::{DeadLetter, DeadLetters};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age},
};

use super::{document, selection::Conditions};

/// What is shown of an error's text; the rest is in `mcpctl dead show`.
const MESSAGE_LENGTH: usize = 60;

const DOCUMENT: &str = "\
With --json the document is {\"dead_letters\": [{sequence, id, agent, action, lane, reason, attempts, errors,
original_subject, age_ms, stored_at, size, redriven_from}], \"more\": true or false}.";

/// Lists dead letters, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    conditions: Conditions,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=9_999))]
    limit: u64,
}

pub(super) async fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let letters = DeadLetters::new(&global.connect().await?);
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    // One more than asked for tells whether there are more.
    let mut found = letters
        .list(&args.conditions.filter().limit(limit + 1))
        .await?;
    let more = found.len() > limit;
    found.truncate(limit);
    if global.json {
        let found: Vec<_> = found.iter().map(document).collect();
        output::json(&json!({ "dead_letters": found, "more": more }));
        return Ok(());
    }
    if found.is_empty() {
        output::note("there is no such dead letter");
        return Ok(());
    }
    output::line(table(&found).render());
    if more {
        output::note(format!(
            "there are more than these {limit}: use --limit or filters"
        ));
    }
    Ok(())
}

fn table(letters: &[DeadLetter]) -> Table {
    let mut table = Table::new(&[
        "sequence",
        "command",
        "reason",
        "attempts",
        "dead for",
        "id",
        "last error",
    ]);
    for letter in letters {
        let message = letter
            .last_error()
            .map(|error| error.message)
            .unwrap_or_default();
        table.row([
            letter.sequence.to_string().into(),
            Cell::toned(Tone::Strong, format!("{}.{}", letter.agent, letter.action)),
            Cell::toned(Tone::Bad, letter.reason.as_str()),
            letter.attempts.to_string().into(),
            age(letter.age).into(),
            letter.id.as_str().into(),
            first_words(&message).into(),
        ]);
    }
    table
}

fn first_words(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(first_words("short\nand more"), "short");
        assert_eq!(first_words(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
        assert_eq!(first_words(""), "");
    }
}
