//! `mcpctl dead redrive`: sending them again.

use clap::Args;
use mcp_agent_sdk::runtime::{DeadLetter, DeadLetterError, DeadLetters, Edits, Redriven};
use serde_json::{Value, json};

use crate::{cli::Global, failure::Failure, output};

use super::{count, document, in_words, selection::Selection};

const DOCUMENT: &str = "\
A letter that was redriven is gone from the list; the command keeps its id, and takes effect once when it has an
idempotency key. What cannot be redriven stays, with the reason on stderr, and the exit code is 1.
With --json the document is {\"redriven\": [{sequence, id, subject, stored_as, duplicate}], \"failed\": [{sequence,
reason}]}; with --dry-run {\"would_redrive\": [as in dead list]}.

Examples: mcpctl dead redrive 17
          mcpctl dead redrive --reason GPU_BUSY --older-than 10m --dry-run
          mcpctl dead redrive 17 --set quality=low --set scenes='[1, 2]'";

/// Sends dead letters again, to where they were sent before, as first attempts.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct RedriveArgs {
    #[command(flatten)]
    selection: Selection,
    /// Sets a parameter; the value is JSON, or else a text; may be repeated. An idempotent command
    /// gets the new key `<id>.r<sequence>`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_edit)]
    edits: Vec<(String, Value)>,
    /// Only shows which they are
    #[arg(long)]
    dry_run: bool,
}

fn parse_edit(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((key.to_owned(), value))
        }
        _ => Err("use KEY=VALUE".to_owned()),
    }
}

pub(super) async fn run(args: RedriveArgs, global: &Global) -> Result<(), Failure> {
    args.selection.check()?;
    let mut edits = Edits::new();
    for (key, value) in &args.edits {
        edits = edits.set(key, value)?;
    }
    let letters = DeadLetters::new(&global.connect().await?);
    let selected = args.selection.letters(&letters).await?;
    if args.dry_run {
        show_selected(&selected, global);
        return Ok(());
    }
    let mut tally = Tally::default();
    // One by one and not `redrive_matching`: people see them go.
    for letter in &selected {
        match letters.redrive(letter.sequence, &edits).await {
            Ok(redriven) => tally.redriven(letter, &redriven, global),
            // Somebody else was faster.
            Err(DeadLetterError::NotFound { .. }) => {}
            Err(error) => tally.failed(letter, &error, global),
        }
    }
    tally.conclude(global)
}

fn show_selected(selected: &[DeadLetter], global: &Global) {
    if global.json {
        let selected: Vec<_> = selected.iter().map(document).collect();
        output::json(&json!({ "would_redrive": selected }));
        return;
    }
    for letter in selected {
        output::line(format!("would redrive {}", in_words(letter)));
    }
    output::note(format!("{} would be redriven", count(selected.len())));
}

/// What has come of each letter.
#[derive(Default)]
struct Tally {
    redriven: Vec<Value>,
    failed: Vec<Value>,
}

impl Tally {
    fn redriven(&mut self, letter: &DeadLetter, redriven: &Redriven, global: &Global) {
        if !global.json {
            let twice = match redriven.duplicate {
                true => "  (it was on its way already)",
                false => "",
            };
            output::line(format!("redriven {}{twice}", in_words(letter)));
        }
        self.redriven.push(json!({
            "sequence": redriven.sequence,
            "id": redriven.id,
            "subject": redriven.subject,
            "stored_as": redriven.stored_as,
            "duplicate": redriven.duplicate,
        }));
    }

    fn failed(&mut self, letter: &DeadLetter, error: &DeadLetterError, global: &Global) {
        if !global.json {
            output::note(error.to_string());
        }
        self.failed
            .push(json!({ "sequence": letter.sequence, "reason": error.to_string() }));
    }

    fn conclude(self, global: &Global) -> Result<(), Failure> {
        let (redriven, failed) = (self.redriven.len(), self.failed.len());
        let document = json!({ "redriven": self.redriven, "failed": self.failed });
        if failed > 0 {
            let sentence = format!("{} redriven, {} not", count(redriven), failed);
            return Err(Failure::answered(sentence).document(document));
        }
        match global.json {
            true => output::json(&document),
            false => output::note(format!("{} redriven", count(redriven))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_or_else_texts() {
        let check = |text: &str, expected: Value| {
            assert_eq!(parse_edit(text).unwrap(), ("k".to_owned(), expected));
        };
        check("k=7", json!(7));
        check("k=low", json!("low"));
        check("k=\"7\"", json!("7"));
        check("k=[1, 2]", json!([1, 2]));
        check("k=a=b", json!("a=b"));
        check("k=", json!(""));
        assert!(parse_edit("k").is_err());
        assert!(parse_edit("=7").is_err());
    }
}
