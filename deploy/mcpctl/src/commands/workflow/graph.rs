//! `mcpctl workflow graph`.

use clap::Args;
use mcp_agent_sdk::{Name, WorkflowError, WorkflowShape, Workflows};
use serde_json::json;

use crate::{cli::Global, failure::Failure, output};

/// Prints a definition as a Mermaid state diagram, which many viewers of Markdown draw.
///
/// With --json the document is {"definition", "version", "mermaid", "shape"}.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The definition
    definition: Name,
    /// Its version (default: the newest)
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

pub(super) async fn run(args: GraphArgs, global: &Global) -> Result<(), Failure> {
    let shapes = Workflows::new(&global.connect().await?)
        .definitions()
        .await?;
    let shape = chosen(&shapes, &args)?;
    match global.json {
        true => output::json(&json!({
            "definition": shape.name, "version": shape.version, "mermaid": shape.mermaid(), "shape": shape,
        })),
        false => output::line(shape.mermaid().trim_end()),
    }
    Ok(())
}

fn chosen<'a>(shapes: &'a [WorkflowShape], args: &GraphArgs) -> Result<&'a WorkflowShape, Failure> {
    let versions = || shapes.iter().filter(|shape| shape.name == args.definition);
    // They come in the order in which they were brought.
    let Some(newest) = versions().next_back() else {
        let mut known: Vec<String> = shapes.iter().map(|shape| shape.name.to_string()).collect();
        known.dedup();
        let name = args.definition.to_string();
        return Err(WorkflowError::NoSuchDefinition { name, known }.into());
    };
    let Some(version) = &args.version else {
        return Ok(newest);
    };
    versions()
        .find(|shape| shape.version == *version)
        .ok_or_else(|| {
            let known: Vec<&str> = versions().map(|shape| shape.version.as_str()).collect();
            Failure::answered(format!("`{}` has no version `{version}`", args.definition))
                .remedy(format!("there are: {}", known.join(", ")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, version: &str) -> WorkflowShape {
        let shape = json!({ "name": name, "version": version, "initial": "a", "states": [] });
        serde_json::from_value(shape).unwrap()
    }

    #[test]
    fn newest_version_is_drawn_unless_one_is_named() {
        let shapes = [shape("cut", "11"), shape("film", "9"), shape("film", "10")];
        let choose = |definition: &str, version: Option<&str>| {
            let args = GraphArgs {
                definition: definition.parse().unwrap(),
                version: version.map(str::to_owned),
            };
            chosen(&shapes, &args)
                .map(|shape| shape.version.clone())
                .map_err(|failure| failure.sentence())
        };
        assert_eq!(choose("film", None).unwrap(), "10");
        assert_eq!(choose("film", Some("9")).unwrap(), "9");
        let refused = choose("film", Some("8")).unwrap_err();
        assert!(refused.ends_with("there are: 9, 10"), "{refused}");
        let refused = choose("song", None).unwrap_err();
        assert!(refused.contains("cut, film"), "{refused}");
    }
}
