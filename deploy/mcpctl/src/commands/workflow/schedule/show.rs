//! Schedules on the screen.

use mcp_agent_sdk::{Client, ScheduleInfo, Schedules};
use serde_json::json;

use super::super::{clock, status::moment};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, utc},
};

pub(super) async fn list(client: &Client, global: &Global) -> Result<(), Failure> {
    let found = Schedules::new(client).list().await?;
    if global.json {
        output::json(&json!({ "schedules": found }));
        return Ok(());
    }
    if found.is_empty() {
        output::note("there are no schedules; `mcpctl workflow schedule add` adds one");
        return Ok(());
    }
    output::line(table(&found, clock::now_ms(client).await?).render());
    Ok(())
}

pub(super) async fn one(
    client: &Client,
    info: &ScheduleInfo,
    global: &Global,
) -> Result<(), Failure> {
    match global.json {
        true => output::json(info),
        false => {
            let now_ms = clock::now_ms(client).await?;
            output::line(table(std::slice::from_ref(info), now_ms).render());
        }
    }
    Ok(())
}

fn table(schedules: &[ScheduleInfo], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "name", "when", "what", "next", "last", "fired", "missed", "error",
    ]);
    for schedule in schedules {
        let next = match (schedule.paused, schedule.next) {
            (true, _) => Cell::toned(Tone::Warning, "paused"),
            (false, Some(next)) => moment(next, now_ms).into(),
            (false, None) => Cell::toned(Tone::Quiet, "none"),
        };
        let last = schedule.last.as_ref();
        table.row([
            Cell::toned(Tone::Strong, schedule.name.as_str()),
            schedule.when.as_str().into(),
            schedule.what.as_str().into(),
            next,
            last.map(|last| utc(last.at)).unwrap_or_default().into(),
            schedule.fired.to_string().into(),
            schedule.missed.to_string().into(),
            Cell::toned(Tone::Bad, schedule.error.as_deref().unwrap_or_default()),
        ]);
    }
    table
}
