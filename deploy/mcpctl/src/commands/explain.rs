//! `mcpctl explain`: the runtime's error codes.

use clap::Args;
use mcp_agent_sdk::{
    Category,
    runtime::{CODES, CodeInfo},
};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, paint},
};

/// Says what causes an error code, and what to do about it; without a code lists them all.
///
/// Codes of the runtime only: agents have their own beside them.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Such as DEADLINE_EXCEEDED
    code: Option<String>,
}

pub(crate) fn run(args: &ExplainArgs, global: &Global) -> Result<(), Failure> {
    let Some(code) = &args.code else {
        match global.json {
            true => {
                output::json(&json!({ "codes": CODES.iter().map(document).collect::<Vec<_>>() }));
            }
            false => output::line(table().render()),
        }
        return Ok(());
    };
    let Some(info) = CodeInfo::of(code) else {
        let nearest = CodeInfo::nearest(code).code;
        return Err(Failure::usage(format!(
            "`{code}` is no code of the runtime, but perhaps an agent's own"
        ))
        .remedy(format!("the nearest is {nearest}")));
    };
    match global.json {
        true => output::json(&document(info)),
        false => output::line(format!(
            "{}  {}\n  cause   {}\n  remedy  {}",
            paint(Tone::Strong, info.code),
            category(info),
            info.cause,
            info.remedy
        )),
    }
    Ok(())
}

fn table() -> Table {
    let mut table = Table::new(&["code", "category", "cause", "remedy"]);
    for info in CODES {
        table.row([
            Cell::toned(Tone::Strong, info.code),
            category(info).into(),
            info.cause.into(),
            info.remedy.into(),
        ]);
    }
    table
}

fn document(info: &CodeInfo) -> Value {
    json!({
        "code": info.code, "category": info.category, "cause": info.cause, "remedy": info.remedy,
    })
}

fn category(info: &CodeInfo) -> &'static str {
    match info.category {
        Category::Temporary => "temporary",
        Category::Permanent => "permanent",
    }
}
