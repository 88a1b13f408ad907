//! `mcpctl dead show`: the autopsy of one letter.

use clap::Args;
use mcp_agent_sdk::runtime::{DeadLetter, DeadLetters};

use crate::{
    answer, body,
    cli::Global,
    failure::Failure,
    output::{self, Tone, age, bytes, paint, utc},
};

use super::document;

/// Shows one dead letter with its autopsy.
///
/// With --json it is the document of `dead list` with `headers` and `body`. A large body stays in the object store, and
/// `body` names its object.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its sequence, as `mcpctl dead list` shows it
    sequence: u64,
    /// Without the body
    #[arg(long)]
    no_body: bool,
}

pub(super) async fn run(args: ShowArgs, global: &Global) -> Result<(), Failure> {
    let letters = DeadLetters::new(&global.connect().await?);
    let opened = letters.show(args.sequence).await?;
    let headers = body::headers(opened.headers());
    let body = (!args.no_body).then(|| body::body(opened.headers(), opened.body()));
    if global.json {
        let mut document = document(opened.letter());
        document["headers"] = headers;
        if let Some(body) = body {
            document["body"] = body;
        }
        output::json(&document);
        return Ok(());
    }
    output::line(told(opened.letter()).join("\n"));
    output::line(paint(Tone::Quiet, "headers"));
    for line in body::lines(&headers) {
        output::line(format!("  {line}"));
    }
    if let Some(body) = body {
        output::line(paint(Tone::Quiet, "body"));
        output::json(&body);
    }
    Ok(())
}

fn told(letter: &DeadLetter) -> Vec<String> {
    let stored = utc(u64::try_from(letter.stored_at_ms).unwrap_or_default());
    let mut lines = vec![
        format!("sequence  {}", letter.sequence),
        format!("id        {}", letter.id),
        format!("command   {}.{}", letter.agent, letter.action),
        format!("reason    {}", paint(Tone::Bad, &letter.reason)),
        format!("attempts  {}", letter.attempts),
        format!("dead for  {}, since {stored}", age(letter.age)),
        format!("subject   {}", letter.original_subject),
        format!("size      {}", bytes(letter.size as u64)),
    ];
    if let Some(sequence) = letter.redriven_from {
        lines.push(format!(
            "redriven  from dead letter {sequence}, which died again"
        ));
    }
    for (number, error) in (1..).zip(&letter.errors) {
        lines.push(format!("error {number:<3} {}", answer::in_words(error, 1)));
    }
    lines
}
