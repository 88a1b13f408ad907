//! `mcpctl agents`: who is running.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use mcp_agent_sdk::runtime::{InstanceState, PresenceRecord};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age},
    presence,
};

/// Lists the agents that are running, one line for each instance.
///
/// An instance that dies without taking leave stays in the list for about 15 s.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// Only this agent
    #[arg(value_name = "AGENT")]
    agent: Option<String>,
}

pub(crate) async fn run(args: AgentsArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let mut records = presence::records(&client).await?;
    if let Some(agent) = &args.agent {
        records.retain(|record| &record.agent == agent);
    }
    if global.json {
        output::json(&json!({ "agents": records }));
    } else if records.is_empty() {
        output::note("no agent is running; start one, such as the test agent `mcpctl probe`");
    } else {
        output::line(table(&records, now_ms()).render());
    }
    Ok(())
}

fn table(records: &[PresenceRecord], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "agent", "instance", "version", "state", "load", "up", "actions",
    ]);
    for record in records {
        let actions: Vec<&str> = record
            .actions
            .iter()
            .map(|action| action.name.as_str())
            .collect();
        let load = record.load;
        table.row([
            Cell::toned(Tone::Strong, record.agent.as_str()),
            record.instance.as_str().into(),
            record.version.as_str().into(),
            state(record.state),
            format!(
                "{}/{} ({:.0} %)",
                load.in_flight,
                load.capacity,
                load.utilization * 100.0
            )
            .into(),
            age(Duration::from_millis(
                now_ms.saturating_sub(record.started_at),
            ))
            .into(),
            actions.join(" ").into(),
        ]);
    }
    table
}

fn state(state: InstanceState) -> Cell {
    match state {
        InstanceState::Starting => Cell::toned(Tone::Quiet, "starting"),
        InstanceState::Ready => Cell::toned(Tone::Good, "ready"),
        InstanceState::Busy => Cell::toned(Tone::Warning, "busy"),
        InstanceState::Draining => Cell::toned(Tone::Quiet, "draining"),
    }
}

/// Unix milliseconds by this machine's clock, as the records have them by theirs.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_all_about_an_instance() {
        let record: PresenceRecord = serde_json::from_value(json!({
            "agent": "probe", "instance": "p1", "version": "0.1.0", "state": "busy", "started_at": 1_000,
            "actions": [{ "name": "echo" }, { "name": "sleep" }],
            "load": { "in_flight": 4, "capacity": 8, "utilization": 0.5, "queue_wait_p95_ms": 2.0 },
        }))
        .unwrap();
        let text = table(&[record], 61_000).render();
        let fields: Vec<&str> = text
            .lines()
            .nth(1)
            .unwrap()
            .split("  ")
            .map(str::trim)
            .collect();
        let told: Vec<&str> = fields
            .into_iter()
            .filter(|field| !field.is_empty())
            .collect();
        assert_eq!(
            told,
            [
                "probe",
                "p1",
                "0.1.0",
                "busy",
                "4/8 (50 %)",
                "1m",
                "echo sleep"
            ]
        );
    }
}
