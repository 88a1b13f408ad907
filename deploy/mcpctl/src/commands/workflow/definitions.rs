//! `mcpctl workflow definitions`.

use clap::Args;
use mcp_agent_sdk::{WorkflowShape, Workflows, runtime::PresenceRecord};
use serde_json::{Value, json};

use super::engines;
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone},
    presence,
};

/// Lists the workflow definitions, one line for each version, with the engines that run it now.
///
/// With --json the document is {"definitions": [{name, version, initial, states, …, engines: [{agent, instance,
/// state}]}]}. The workflows of a version without an engine wait for one.
#[derive(Debug, Args)]
pub(crate) struct DefinitionsArgs {}

pub(super) async fn run(_args: DefinitionsArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let shapes = Workflows::new(&client).definitions().await?;
    let present = presence::records(&client).await?;
    if global.json {
        let shapes: Vec<Value> = shapes
            .iter()
            .map(|shape| document(shape, &present))
            .collect();
        output::json(&json!({ "definitions": shapes }));
    } else if shapes.is_empty() {
        output::note("there is no definition yet; an agent brings its own when it starts");
    } else {
        output::line(table(&shapes, &present).render());
    }
    Ok(())
}

fn document(shape: &WorkflowShape, present: &[PresenceRecord]) -> Value {
    let engines = engines::of(present, shape.name.as_str(), &shape.version);
    let engines: Vec<Value> = engines.map(engines::document).collect();
    let mut document = json!(shape);
    document["engines"] = json!(engines);
    document
}

fn table(shapes: &[WorkflowShape], present: &[PresenceRecord]) -> Table {
    let mut table = Table::new(&["definition", "version", "engines", "states"]);
    for shape in shapes {
        let alive = engines::of(present, shape.name.as_str(), &shape.version).count();
        let states: Vec<&str> = shape
            .states
            .iter()
            .map(|state| state.name.as_str())
            .collect();
        let tone = if alive == 0 {
            Tone::Warning
        } else {
            Tone::Good
        };
        table.row([
            Cell::toned(Tone::Strong, shape.name.as_str()),
            shape.version.as_str().into(),
            Cell::toned(tone, alive.to_string()),
            states.join(" ").into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_without_an_engine_is_seen() {
        let shape = |version: &str| -> WorkflowShape {
            serde_json::from_value(json!({
                "name": "film", "version": version, "initial": "script",
                "states": [{ "name": "script", "kind": "work" }, { "name": "done", "kind": "final" }],
            }))
            .unwrap()
        };
        let present: PresenceRecord = serde_json::from_value(json!({
            "agent": "studio", "instance": "s1", "state": "ready",
            "definitions": [{ "name": "film", "versions": ["2"] }],
        }))
        .unwrap();
        let (shapes, present) = ([shape("1"), shape("2")], [present]);
        let rows =
            "film        1        0        script done\nfilm        2        1        script done";
        let text = table(&shapes, &present).render();
        assert!(text.ends_with(rows), "{text}");
        assert_eq!(
            document(&shapes[1], &present)["engines"][0]["instance"],
            "s1"
        );
    }
}
