//! `mcpctl trace`: who handled a command or a workflow, when, and for how long.

mod events;
mod known;
mod shown;
mod spans;
mod stored;
mod workflow;

use clap::{Args, builder::NonEmptyStringValueParser};
use mcp_agent_sdk::Client;

use crate::{cli::Global, failure::Failure, jaeger::Jaeger};

use known::Known;

const HELP: &str = "\
What is looked through: the queue, commands that come later, outcomes, dead letters, events since the message was made, the
workflow's record and checkpoints, and Jaeger where --jaeger or MCP_JAEGER_URL says where it is.

A command that was answered leaves nothing on the server, unless it was submitted or had an idempotency key: then only its
spans tell who handled it. A trace id (32 hexadecimal digits) is known to Jaeger alone. Parameters and results are not shown:
see `mcpctl messages show` and `mcpctl outcome`.

Exit codes: 0 something is known; 1 nothing is; 3 server unreachable.
Example: mcpctl trace 0195f3a2-7c1e-7d30-9a1b-2f4d6c8e0a12
Example: mcpctl trace order-17 --jaeger http://localhost:16686";

/// Tells who handled a command, an event or a workflow, when, and for how long.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TraceArgs {
    /// The id of a command, of an event or of a workflow, or a trace id
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Where Jaeger shows its page
    #[arg(long, value_name = "URL", env = "MCP_JAEGER_URL", value_parser = Jaeger::parse)]
    jaeger: Option<Jaeger>,
}

pub(crate) async fn run(args: TraceArgs, global: &Global) -> Result<(), Failure> {
    let id = args.id.trim();
    let mut known = Known::of(id);
    if known.trace_ids.is_empty() {
        gather(&global.connect().await?, id, &mut known).await?;
    } else if args.jaeger.is_none() {
        return Err(
            Failure::usage(format!("{id} is a trace id, which Jaeger alone knows"))
                .remedy("say where it is with --jaeger URL or MCP_JAEGER_URL"),
        );
    }
    if let Some(jaeger) = &args.jaeger {
        spans::gather(jaeger, id, &mut known).await;
    }
    known.in_order();
    if known.is_empty() {
        return Err(nothing(&known, args.jaeger.is_some(), id));
    }
    shown::show(&known, args.jaeger.as_ref(), global.json);
    Ok(())
}

/// What the server knows.
async fn gather(client: &Client, id: &str, known: &mut Known) -> Result<(), Failure> {
    stored::gather(client, id, known).await?;
    workflow::gather(client, id, known).await?;
    events::gather(client, id, known).await
}

fn nothing(known: &Known, asked_jaeger: bool, id: &str) -> Failure {
    let trouble = known.trouble.as_ref();
    let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let failure = Failure::answered(format!("nothing is known of {id}{trouble}"));
    failure.remedy(match asked_jaeger {
        true => {
            "a command that was answered leaves nothing behind unless it was submitted or had an idempotency key, and spans come \
             only from agents that export traces"
        }
        false => {
            "a command that was answered leaves nothing behind unless it was submitted or had an idempotency key; with --jaeger \
             URL or MCP_JAEGER_URL its spans are looked for too"
        }
    })
}
