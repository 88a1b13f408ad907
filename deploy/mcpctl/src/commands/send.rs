//! `mcpctl send`: one command and its result.

mod retries;
mod submit;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mcp_agent_sdk::{Client, Priority, Progress, Raw, RetryConfig, SendCommand};
use serde_json::Value;

use crate::{answer::Answer, cli::Global, failure::Failure, output, parameters::Parameters};

/// Positions of the bar; fractions are finer than anyone can see.
const BAR_STEPS: u64 = 1000;

const DOCUMENT: &str = "\
With --json the document is {\"result\": …} or {\"error\": …}, beside it:
  command_id     the command that was answered
  agent          who answered
  instance       which instance of it
  attempt        the attempt that was answered, 1 for the first
  processing_ms  the time in its handler
  replayed       true when it is the stored outcome of the same idempotency key
--submit adds `action` and `key`, under which `mcpctl outcome` finds what came of it. Without --wait it is
{\"command_id\", \"agent\", \"action\", \"key\"} alone.";

/// Sends a command to an agent and prints the result as JSON.
///
/// The command is stored: it waits for an instance of the agent, but no longer than --ttl. With --submit it is handed
/// over: the runtime retries it, and keeps its outcome.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
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
    /// How long to wait for the result, retries included; with --submit: for the command to be stored
    #[arg(long, env = "MCP_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration,
          value_name = "DURATION")]
    timeout: Duration,
    /// How long the command is worth doing (default: as long as is waited; with --submit: for ever)
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", conflicts_with = "realtime")]
    ttl: Option<Duration>,
    /// Sends without storing: faster, lost when no instance listens now
    #[arg(long)]
    realtime: bool,
    /// The conversation that the command belongs to
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Takes effect once, however often it is sent with this key
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    retries: retries::Retries,
    /// How long one attempt waits for its reply (default: all of --timeout); without a key an unanswered command
    /// is not sent again, because it is queued
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    attempt_timeout: Option<Duration>,
    /// Hands the command over and prints its id and key at once
    #[arg(long, conflicts_with_all = ["realtime", "attempt_timeout"])]
    submit: bool,
    /// After --submit: waits so long for the outcome
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", requires = "submit")]
    wait: Option<Duration>,
}

pub(crate) async fn run(args: SendArgs, global: &Global) -> Result<(), Failure> {
    let parameters = args.parameters.read()?;
    // Checked before anything is connected to.
    let retry = args.retries.config(args.submit)?;
    let client = global.connect().await?;
    if args.submit {
        return submit::run(&args, &client, &parameters, retry, global).await;
    }
    let bar = Arc::new(OnceLock::new());
    let mut command = command(&client, &args, &parameters, retry);
    if output::can_draw() && !global.json {
        let bar = Arc::clone(&bar);
        command = command.on_progress(move |progress| draw(bar.get_or_init(new_bar), progress));
    }
    let outcome = command.reply().await;
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    Answer::new(&args.agent, &args.action).show(outcome?, global)
}

fn command(
    client: &Client,
    args: &SendArgs,
    parameters: &Value,
    retry: RetryConfig,
) -> SendCommand<Raw> {
    let mut command = client
        .send_command(&args.agent, &args.action, parameters)
        .priority(args.priority)
        .timeout(args.timeout)
        .retry(retry);
    if let Some(ttl) = args.ttl {
        command = command.ttl(ttl);
    }
    if let Some(id) = &args.conversation {
        command = command.conversation(id);
    }
    if let Some(key) = &args.idempotency_key {
        command = command.idempotency_key(key);
    }
    if let Some(timeout) = args.attempt_timeout {
        command = command.attempt_timeout(timeout);
    }
    if args.realtime {
        command.realtime()
    } else {
        command
    }
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
