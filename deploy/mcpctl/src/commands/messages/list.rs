//! `mcpctl messages list`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mcp_agent_sdk::{
    Name, Priority,
    runtime::persistence::{
        JetStreamPersistence, MessagePersistence, MessageQuery, MessageState, Page, StoredMessage,
    },
};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age, bytes},
};

use super::document;

const DOCUMENT: &str = "\
With --json the document is {\"messages\": [{id, agent, action, lane, state, age_ms, stored_at, attempts, size, subject,
lies_in, sequence, error}], \"more\": true or false}. `lies_in` is queue, delayed, outcomes or dead letters.
Outcomes do not know their lane, so --lane leaves out what is done. An idempotent command that failed for good is
listed twice, as done and as dead.";

/// Lists stored messages: the queue first, then outcomes, then dead letters, each the oldest first.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct ListArgs {
    /// Only those for this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<Name>,
    /// Only those for this action
    #[arg(long, value_name = "NAME")]
    action: Option<Name>,
    /// Only this lane: critical, high, normal or low
    #[arg(long, value_name = "LANE")]
    lane: Option<Priority>,
    /// Only this state; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<State>,
    /// Only those stored at least so long ago
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only those stored at most so long ago
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

/// The states by the words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Queued,
    InFlight,
    Done,
    Dead,
}

impl From<State> for MessageState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::InFlight => Self::InFlight,
            State::Done => Self::Done,
            State::Dead => Self::Dead,
        }
    }
}

pub(super) async fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let store = JetStreamPersistence::new(&global.connect().await?);
    let Page { messages, next } = store.query(query(args)).await?;
    let more = next.is_some();
    if global.json {
        let messages: Vec<_> = messages.iter().map(document).collect();
        output::json(&json!({ "messages": messages, "more": more }));
        return Ok(());
    }
    if messages.is_empty() {
        output::note("no such message is stored");
        return Ok(());
    }
    output::line(table(&messages).render());
    if more {
        output::note(format!(
            "there are more than these {}: use --limit or filters",
            messages.len()
        ));
    }
    Ok(())
}

fn query(args: ListArgs) -> MessageQuery {
    let mut query = MessageQuery::new().limit(usize::try_from(args.limit).unwrap_or(usize::MAX));
    if let Some(agent) = args.agent {
        query = query.agent(agent);
    }
    if let Some(action) = args.action {
        query = query.action(action);
    }
    if let Some(lane) = args.lane {
        query = query.lane(lane);
    }
    if let Some(age) = args.older_than {
        query = query.older_than(age);
    }
    if let Some(age) = args.newer_than {
        query = query.younger_than(age);
    }
    args.state
        .into_iter()
        .fold(query, |query, state| query.state(state.into()))
}

fn table(messages: &[StoredMessage]) -> Table {
    let mut table = Table::new(&[
        "id", "command", "lane", "state", "age", "attempts", "size", "error",
    ]);
    for message in messages {
        table.row([
            message.id.as_str().into(),
            Cell::toned(
                Tone::Strong,
                format!("{}.{}", message.agent, message.action),
            ),
            message.lane.map_or("", |lane| lane.as_str()).into(),
            state(message),
            age(message.age).into(),
            message.attempts.to_string().into(),
            bytes(message.size as u64).into(),
            message
                .error
                .as_ref()
                .map_or("", |error| error.code.as_str())
                .into(),
        ]);
    }
    table
}

fn state(message: &StoredMessage) -> Cell {
    let tone = match message.state {
        MessageState::Queued => Tone::Quiet,
        MessageState::InFlight => Tone::Strong,
        MessageState::Done if message.error.is_some() => Tone::Warning,
        MessageState::Done => Tone::Good,
        MessageState::Dead => Tone::Bad,
    };
    Cell::toned(tone, message.state.as_str())
}
