//! `mcpctl workflow list`.

use std::time::Duration;

use clap::{Args, builder::PossibleValuesParser};
use mcp_agent_sdk::{Name, WorkflowFilter, WorkflowRecord, WorkflowStatus, Workflows};
use serde_json::{Value, json};

use super::{clock, status, target};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age},
};

const DOCUMENT: &str = "\
With --json the document is {\"workflows\": [their records], \"more\": true or false, \"next\": cursor or null}.";

/// Lists workflows, the last changed first.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct ListArgs {
    /// Only those of this definition
    #[arg(long, value_name = "NAME")]
    definition: Option<Name>,
    /// Only those of this status; may be repeated
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(WorkflowStatus::ALL.map(WorkflowStatus::as_str)))]
    status: Vec<String>,
    /// Only those in this state
    #[arg(long, value_name = "NAME")]
    state: Option<Name>,
    /// Only those of this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Only those whose last error has this code
    #[arg(long, value_name = "CODE")]
    error: Option<String>,
    /// Only those with this value in a field of their data that the definition indexes; may be repeated
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// Only those started at least so long ago
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only those started within so long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    younger_than: Option<Duration>,
    /// Only those that have not changed for so long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=9_999))]
    limit: u64,
    /// Goes on after the page before, which says how
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

fn field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("say it as FIELD=VALUE, such as customer=acme".to_owned()),
    }
}

pub(super) async fn run(args: ListArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let now_ms = clock::now_ms(&client).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let filter = filter(&args, now_ms).limit(limit);
    let page = Workflows::new(&client).search_workflows(&filter).await?;
    let (found, next) = (page.workflows, page.next);
    if global.json {
        let found: Result<Vec<Value>, Failure> = found.iter().map(target::document).collect();
        output::json(&json!({ "workflows": found?, "more": next.is_some(), "next": next }));
        return Ok(());
    }
    if found.is_empty() {
        output::note("there is no such workflow");
        return Ok(());
    }
    output::line(table(&found, now_ms).render());
    if let Some(next) = next {
        output::note(format!(
            "there are more than these {limit}: --after {next} shows the next, or use filters"
        ));
    }
    Ok(())
}

fn filter(args: &ListArgs, now_ms: u64) -> WorkflowFilter {
    let before =
        |span: Duration| now_ms.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let mut filter = WorkflowFilter::default();
    if let Some(definition) = &args.definition {
        filter = filter.definition(definition.as_str());
    }
    if let Some(state) = &args.state {
        filter = filter.state(state.as_str());
    }
    if let Some(conversation) = &args.conversation {
        filter = filter.conversation(conversation);
    }
    if let Some(code) = &args.error {
        filter = filter.error_code(code);
    }
    for (name, value) in &args.fields {
        filter = filter.field(name, value);
    }
    if let Some(cursor) = &args.after {
        filter = filter.after(cursor);
    }
    if let Some(span) = args.younger_than {
        filter = filter.created_after(before(span));
    }
    if let Some(span) = args.older_than {
        filter = filter.created_before(before(span));
    }
    if let Some(span) = args.idle {
        filter = filter.updated_before(before(span));
    }
    WorkflowStatus::ALL
        .into_iter()
        .filter(|status| args.status.iter().any(|text| text == status.as_str()))
        .fold(filter, WorkflowFilter::status)
}

fn table(records: &[WorkflowRecord], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "id",
        "definition",
        "state",
        "status",
        "age",
        "idle",
        "waits for",
        "error",
    ]);
    let ago = |at: u64| age(Duration::from_millis(now_ms.saturating_sub(at)));
    for record in records {
        let error = record.error.as_ref();
        table.row([
            Cell::toned(Tone::Strong, record.id.as_str()),
            record.definition.as_str().into(),
            record.state.as_str().into(),
            status::cell(record.status),
            ago(record.created_at).into(),
            ago(record.updated_at).into(),
            status::waits_for(record).unwrap_or_default().into(),
            Cell::toned(Tone::Bad, error.map_or("", |error| error.code.as_str())),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{super::path::tests::record, *};

    #[test]
    fn one_line_tells_where_a_workflow_stands() {
        let record = record(json!({
            "state": "gate", "status": "waiting", "wait": { "signals": ["approve"] }, "updated_at": 2_000,
        }));
        let text = table(&[record], 62_000).render();
        assert_eq!(
            text.lines().nth(1),
            Some("order-17  probe_pipeline  gate   waiting  1m 2s  1m    the signal approve")
        );
    }
}
