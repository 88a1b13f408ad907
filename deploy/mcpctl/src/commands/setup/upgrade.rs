//! `mcpctl setup --upgrade`: brings what exists up to this program, where that loses nothing.

use mcp_agent_sdk::{
    Client,
    runtime::topology::{self, Change, Difference, Refusal, TopologyConfig, UpgradePlan},
};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone},
};

/// Whether the plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Show,
    CarryOut,
}

pub(super) async fn run(
    client: &Client,
    wanted: &TopologyConfig,
    deed: Deed,
    global: &Global,
) -> Result<(), Failure> {
    let plan = topology::plan_upgrade(client.jetstream(), wanted).await?;
    let (document, table, count) = (document(&plan, deed), table(&plan), plan.changes().count());
    if deed == Deed::CarryOut && plan.refusals().is_empty() {
        plan.carry_out(client.jetstream(), wanted).await?;
    } else if !plan.refusals().is_empty() {
        return Err(refused(plan.refusals()).document(document));
    }
    if global.json {
        output::json(&document);
        return Ok(());
    }
    if count > 0 {
        output::line(table.render());
    }
    output::line(match (count, deed) {
        (0, _) => "everything is up to date".to_owned(),
        (count, Deed::Show) => {
            format!("{count} to change; `mcpctl setup --upgrade` without --dry-run does it")
        }
        (count, Deed::CarryOut) => format!("{count} changed; nothing was lost"),
    });
    Ok(())
}

fn refused(refusals: &[Refusal]) -> Failure {
    let rows: Vec<String> = refusals.iter().map(|row| format!("\n  {row}")).collect();
    Failure::usage(format!(
        "nothing was changed, because this cannot be changed in place:{}",
        rows.concat()
    ))
}

fn table(plan: &UpgradePlan) -> Table {
    let mut table = Table::new(&["name", "setting", "was", "becomes"]);
    for change in plan.changes() {
        let mut name = change.object.replace('`', "");
        if change.differences.is_empty() {
            table.row([
                name.into(),
                Cell::toned(Tone::Good, "created"),
                "".into(),
                "".into(),
            ]);
            continue;
        }
        for row in &change.differences {
            table.row([
                std::mem::take(&mut name).into(),
                row.setting.into(),
                row.found.clone().into(),
                row.expected.clone().into(),
            ]);
        }
    }
    table
}

fn document(plan: &UpgradePlan, deed: Deed) -> Value {
    let row = |row: &Difference| json!({ "setting": row.setting, "found": row.found, "expected": row.expected });
    let change = |change: &Change| {
        let differences: Vec<Value> = change.differences.iter().map(row).collect();
        json!({
            "object": change.object, "created": change.differences.is_empty(), "differences": differences,
        })
    };
    let refusal = |refusal: &Refusal| {
        json!({
            "object": refusal.object, "difference": row(&refusal.difference), "remedy": refusal.remedy,
        })
    };
    let refused: Vec<Value> = plan.refusals().iter().map(refusal).collect();
    json!({
        "version": topology::TOPOLOGY_VERSION,
        "carried_out": deed == Deed::CarryOut && refused.is_empty(),
        "changes": plan.changes().map(change).collect::<Vec<_>>(),
        "refused": refused,
    })
}
