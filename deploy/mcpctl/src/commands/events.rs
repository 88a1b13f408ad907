//! `mcpctl events`: publishing them, and watching them come.

mod tail;

use clap::{Args, Subcommand};
use mcp_agent_sdk::{
    Name, Raw,
    runtime::{Event, InvalidName},
};
use serde_json::json;

use crate::{cli::Global, failure::Failure, output, parameters::Parameters};

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Publishes an event; done when the server has stored it
    Publish(PublishArgs),
    /// Shows events as they come, until Ctrl-C
    Tail(tail::TailArgs),
}

/// Which event, and what there is to know about it.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The event's name, in the past tense: script_generated
    event: String,
    #[command(flatten)]
    data: Parameters,
    /// The agent that it is said to have happened to
    #[arg(long, value_name = "NAME", default_value = "mcpctl")]
    source: String,
}

pub(crate) async fn run(command: EventsCommand, global: &Global) -> Result<(), Failure> {
    match command {
        EventsCommand::Publish(args) => publish(args, global).await,
        EventsCommand::Tail(args) => tail::run(args, global).await,
    }
}

async fn publish(args: PublishArgs, global: &Global) -> Result<(), Failure> {
    let data =
        Raw::encode(&args.data.read()?).map_err(|error| Failure::usage(error.to_string()))?;
    let (source, name) = (valid(&args.source)?, valid(&args.event)?);
    let client = global.connect().await?;
    let event = Event::new(source, name, data);
    client.publish_event(&event).await?;
    if global.json {
        output::json(&json!({ "id": event.id, "source": event.source, "name": event.name }));
    } else {
        output::line(format!(
            "published {}.{} as {}",
            event.source, event.name, event.id
        ));
    }
    Ok(())
}

fn valid(name: &str) -> Result<Name, Failure> {
    Name::new(name).map_err(|error: InvalidName| Failure::usage(error.to_string()))
}
