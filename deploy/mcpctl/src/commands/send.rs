//! `mcpctl send`: one command and its result.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mcp_agent_sdk::{Client, McpError, Priority, Progress, Raw, SendCommand, runtime::Reply};
use serde_json::{Value, json};

use crate::{cli::Global, failure::Failure, output, parameters::Parameters};

/// Positions of the bar; fractions are finer than anyone can see.
const BAR_STEPS: u64 = 1000;

/// Sends a command to an agent and prints the result as JSON.
///
/// The command is stored: it waits for an instance of the agent, but no longer than --ttl. With --json the document is
/// {"result": …} or {"error": …}, with command_id, instance, attempt, processing_ms and replayed beside it.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The agent
    agent: String,
    /// What it is to do
    action: String,
    #[command(flatten)]
    parameters: Parameters,
    /// The lane: critical, high, normal or low
    #[arg(long, value_name = "LANE", default_value_t = Priority::Normal)]
    priority: Priority,
    /// How long to wait for the result
    #[arg(long, env = "MCP_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration,
          value_name = "DURATION")]
    timeout: Duration,
    /// How long the command is worth doing (default: as long as is waited)
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", conflicts_with = "realtime")]
    ttl: Option<Duration>,
    /// Sends without storing: faster, lost when no instance listens now
    #[arg(long)]
    realtime: bool,
    /// The conversation that the command belongs to
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
}

pub(crate) async fn run(args: SendArgs, global: &Global) -> Result<(), Failure> {
    let parameters = args.parameters.read()?;
    let client = global.connect().await?;
    let bar = Arc::new(OnceLock::new());
    let mut command = command(&client, &args, &parameters);
    if output::can_draw() && !global.json {
        let bar = Arc::clone(&bar);
        command = command.on_progress(move |progress| draw(bar.get_or_init(new_bar), progress));
    }
    let outcome = command.reply().await;
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    show(&args, outcome?, global)
}

fn command(client: &Client, args: &SendArgs, parameters: &Value) -> SendCommand<Raw> {
    let mut command = client
        .send_command(&args.agent, &args.action, parameters)
        .priority(args.priority)
        .timeout(args.timeout);
    if let Some(ttl) = args.ttl {
        command = command.ttl(ttl);
    }
    if let Some(id) = &args.conversation {
        command = command.conversation(id);
    }
    if args.realtime {
        command.realtime()
    } else {
        command
    }
}

fn show(args: &SendArgs, reply: Reply, global: &Global) -> Result<(), Failure> {
    let mut document = json!({
        "command_id": reply.command_id,
        "agent": reply.source,
        "instance": reply.instance,
        "attempt": reply.attempt,
        "processing_ms": reply.processing_ms,
        "replayed": reply.replayed,
    });
    match reply.into_outcome() {
        Some(Ok(result)) => {
            let result = serde_json::to_value(&result).map_err(|error| {
                Failure::answered(format!("the result cannot be shown as JSON: {error}"))
            })?;
            if global.json {
                document["result"] = result;
                output::json(&document);
            } else {
                output::json(&result);
            }
            Ok(())
        }
        Some(Err(error)) => {
            document["error"] = json!(error);
            let sentence = format!(
                "{}.{} answered {}",
                args.agent,
                args.action,
                in_words(&error)
            );
            Err(Failure::answered(sentence).document(document))
        }
        None => Err(Failure::answered(
            "the response carries neither result nor error",
        )),
    }
}

/// An error with its advice.
fn in_words(error: &McpError) -> String {
    let mut words = vec![if error.is_temporary() {
        "temporary".to_owned()
    } else {
        "permanent".to_owned()
    }];
    if let Some(delay) = error.retry_delay {
        words.push(format!("retry after {}", humantime::format_duration(delay)));
    }
    if !error.details.is_empty() {
        words.push(Value::from(error.details.clone()).to_string());
    }
    format!("{error} ({})", words.join(", "))
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:32} {percent:>3} %  {msg}");
    let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
    bar.with_style(style.expect("the template is valid"))
}

fn draw(bar: &ProgressBar, progress: &Progress) {
    if let Some(fraction) = progress.fraction {
        // Clamped, since a foreign agent may send anything.
        bar.set_position((fraction.clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
    }
    if let Some(note) = &progress.note {
        bar.set_message(note.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_told_with_its_advice() {
        let busy = McpError::temporary("GPU_BUSY")
            .message("all busy")
            .retry_after(Duration::from_secs(2));
        assert_eq!(
            in_words(&busy),
            "GPU_BUSY: all busy (temporary, retry after 2s)"
        );
        let unknown = McpError::permanent("UNKNOWN_ACTION").detail("actions", json!(["echo"]));
        assert_eq!(
            in_words(&unknown),
            r#"UNKNOWN_ACTION (permanent, {"actions":["echo"]})"#
        );
    }
}
