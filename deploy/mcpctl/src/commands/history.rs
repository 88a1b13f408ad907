//! `mcpctl history`: what the instances of an agent have sent and received of late.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::runtime::{Direction, InstanceHistory, PastKind, PastMessage};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, utc},
    presence,
};

/// Shows the last messages of an agent, as its instances remember them.
///
/// Each instance keeps a fixed number of them in memory (MCP_HISTORY, 256 by default) and nothing of their bodies. What was
/// delivered long ago, or to an instance that is gone, is not there: events and dead letters are kept by the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcpctl history writer --failed
  mcpctl history writer --limit 200 --json")]
pub(crate) struct HistoryArgs {
    /// The agent
    agent: String,
    /// At most so many messages of each instance
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only this instance
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only messages that ended with an error
    #[arg(long)]
    failed: bool,
}

pub(crate) async fn run(args: HistoryArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let records = presence::records(&client).await?;
    let running = records.iter().filter(|record| record.agent == args.agent);
    let running = running.count();
    if running == 0 {
        let sentence = format!("no instance of `{}` runs, so nobody remembers", args.agent);
        return Err(Failure::answered(sentence).remedy(
            "`mcpctl agents` lists those that run; `mcpctl events list` shows what is stored",
        ));
    }
    // What is not wanted is left out here: an instance does not know why it is asked.
    let asked = if args.failed { usize::MAX } else { args.limit };
    let mut histories = client.history_of(&args.agent, asked, running).await?;
    let answered = histories.len();
    histories.retain(|history| {
        let wanted = args.instance.as_ref();
        wanted.is_none_or(|wanted| history.instance == *wanted)
    });
    for history in &mut histories {
        let messages = &mut history.messages;
        messages.retain(|message| !args.failed || message.error.is_some());
        messages.drain(..messages.len().saturating_sub(args.limit));
    }
    if global.json {
        output::json(&json!({ "agent": args.agent, "instances": histories }));
    } else if histories.iter().all(|history| history.messages.is_empty()) {
        output::note("no such message is remembered");
    } else {
        output::line(table(&histories).render());
    }
    if answered < running {
        output::note(format!(
            "{answered} of {running} instances have answered within 2 s"
        ));
    }
    Ok(())
}

/// All instances in one table, the newest message last.
fn table(histories: &[InstanceHistory]) -> Table {
    let mut all: Vec<(&str, &PastMessage)> = Vec::new();
    for history in histories {
        let instance = history.instance.as_str();
        all.extend(history.messages.iter().map(|message| (instance, message)));
    }
    all.sort_by_key(|(_, message)| message.at_ms);
    let mut table = Table::new(&[
        "at", "instance", "", "kind", "peer", "name", "attempt", "took", "ended", "id",
    ]);
    for (instance, message) in all {
        table.row([
            Cell::toned(Tone::Quiet, utc(message.at_ms)),
            instance.into(),
            direction(message.direction).into(),
            kind(message.kind).into(),
            Cell::toned(Tone::Strong, message.peer.as_str()),
            message.name.as_str().into(),
            message.attempt.to_string().into(),
            took(message.took_ms).into(),
            match &message.error {
                None => Cell::toned(Tone::Good, "ok"),
                Some(code) => Cell::toned(Tone::Bad, code.as_str()),
            },
            Cell::toned(Tone::Quiet, message.id.as_str()),
        ]);
    }
    table
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "to",
        Direction::Received => "from",
    }
}

fn kind(kind: PastKind) -> &'static str {
    match kind {
        PastKind::Command => "command",
        PastKind::Submit => "submit",
        PastKind::Event => "event",
    }
}

fn took(ms: f64) -> String {
    let span = Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default();
    match span.as_secs() {
        0 => format!("{ms:.1} ms"),
        _ => output::age(span),
    }
}
