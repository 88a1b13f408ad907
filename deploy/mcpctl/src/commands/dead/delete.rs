//! `mcpctl dead delete`.

use clap::Args;
use mcp_agent_sdk::runtime::{DeadLetterError, DeadLetters};
use serde_json::json;

use crate::{cli::Global, failure::Failure, output};

use super::{count, document, in_words, selection::Selection};

/// Deletes dead letters for good. With --json the document is {"deleted": [as in dead list]}.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    selection: Selection,
    /// Only shows which they are
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: DeleteArgs, global: &Global) -> Result<(), Failure> {
    args.selection.check()?;
    let letters = DeadLetters::new(&global.connect().await?);
    let selected = args.selection.letters(&letters).await?;
    let mut gone = Vec::new();
    for letter in &selected {
        if !args.dry_run {
            match letters.delete(letter.sequence).await {
                Ok(()) => {}
                // Somebody else was faster.
                Err(DeadLetterError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        if !global.json {
            let verb = if args.dry_run {
                "would delete"
            } else {
                "deleted"
            };
            output::line(format!("{verb} {}", in_words(letter)));
        }
        gone.push(document(letter));
    }
    let field = if args.dry_run {
        "would_delete"
    } else {
        "deleted"
    };
    let words = field.replace("would_delete", "would be deleted");
    match global.json {
        true => output::json(&json!({ field: gone })),
        false => output::note(format!("{} {words}", count(gone.len()))),
    }
    Ok(())
}
