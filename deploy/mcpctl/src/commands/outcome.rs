//! `mcpctl outcome`: what came of a command that somebody else may have sent.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::{
    Client,
    runtime::{OutcomeRecord, OutcomeState, Reply},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    answer::{as_json, in_words},
    cli::Global,
    failure::Failure,
    output::{self, Tone, paint},
};

/// Between two looks: quick at first, then every second.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

const DOCUMENT: &str = "\
States: none (nobody has begun with it), reserved (an instance works on it), failing (an attempt has failed, the
runtime will try again), done.
Exit codes: 0 done with a result; 1 done with an error, or not done; 3 server unreachable.
With --json the document is {agent, action, key, state, command_id, owner, errors}, and when it is done also
{\"result\": …} or {\"error\": …}, instance, attempt and processing_ms. `errors` are those of failed attempts, the
oldest first. Outcomes are kept for a day.";

/// Shows what came of a command that was submitted, or sent with an idempotency key.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct OutcomeArgs {
    /// The agent
    agent: String,
    /// The action
    action: String,
    /// The idempotency key; of a command submitted without one, its id
    key: String,
    /// Waits so long for the outcome
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", default_value = "0s")]
    wait: Duration,
}

pub(crate) async fn run(args: OutcomeArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let record = look(
        &client,
        &args.agent,
        &args.action,
        &args.key,
        args.wait,
        |record| record.is_done(),
    )
    .await?;
    match record {
        None => Err(Failure::answered(format!(
            "none: nobody has begun with {}.{} under the key `{}`",
            args.agent, args.action, args.key
        ))
        .remedy("is it queued? see `mcpctl messages list`")
        .document(document(&args, None))),
        Some(record) => show(&args, record, global),
    }
}

/// The outcome of a submitted command, waited for; of a key that somebody else has used and given back, only what
/// comes after that.
pub(super) async fn of_command(
    client: &Client,
    agent: &str,
    action: &str,
    key: &str,
    command_id: &str,
    wait: Duration,
) -> Result<Option<OutcomeRecord>, Failure> {
    let stands = |record: &OutcomeRecord| {
        record.is_done() && (record.command_id == command_id || !has_released_its_key(record))
    };
    let record = look(client, agent, action, key, wait, stands).await?;
    Ok(record.filter(stands))
}

/// The last record seen: one that is `enough`, or what there was when the time had passed.
async fn look(
    client: &Client,
    agent: &str,
    action: &str,
    key: &str,
    wait: Duration,
    enough: impl Fn(&OutcomeRecord) -> bool,
) -> Result<Option<OutcomeRecord>, Failure> {
    let deadline = Instant::now() + wait;
    let mut pause = FIRST_LOOK;
    loop {
        let record = client.outcome(agent, action, key).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if record.as_ref().is_some_and(&enough) || left.is_zero() {
            return Ok(record);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// A final temporary error is no outcome that stays: the next command with the key runs.
fn has_released_its_key(record: &OutcomeRecord) -> bool {
    error(record).is_some_and(|error| error.is_temporary())
}

fn error(record: &OutcomeRecord) -> Option<&mcp_agent_sdk::McpError> {
    record
        .response
        .as_ref()
        .and_then(|response| response.error.as_ref())
}

fn show(args: &OutcomeArgs, record: OutcomeRecord, global: &Global) -> Result<(), Failure> {
    let mut document = document(args, Some(&record));
    let told = told(&record);
    let done = record.is_done();
    let state = state(Some(&record));
    let outcome = record
        .response
        .and_then(Reply::into_outcome)
        .filter(|_| done);
    if !global.json {
        output::line(told.join("\n"));
    }
    let of = format!("{}.{}", args.agent, args.action);
    match outcome {
        Some(Ok(result)) => {
            let result = as_json(&result)?;
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
            let attempts = document["attempt"].as_u64().unwrap_or(1);
            let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
            let sentence = format!("{of} ended with {}", in_words(&error, attempts));
            let failure = Failure::answered(sentence).document(document);
            Err(match error.is_temporary() {
                true => {
                    failure.remedy("a temporary error frees its key: the command may be sent again")
                }
                false => failure,
            })
        }
        None => Err(Failure::answered(format!("{of} is not done: {state}")).document(document)),
    }
}

fn state(record: Option<&OutcomeRecord>) -> &'static str {
    match record.map(|record| record.state) {
        None => "none",
        Some(OutcomeState::Reserved) => "reserved",
        Some(OutcomeState::Failing) => "failing",
        Some(OutcomeState::Done) => "done",
    }
}

/// The lines above the result.
fn told(record: &OutcomeRecord) -> Vec<String> {
    let tone = match record.state {
        OutcomeState::Reserved => Tone::Strong,
        OutcomeState::Failing => Tone::Warning,
        OutcomeState::Done if error(record).is_some() => Tone::Bad,
        OutcomeState::Done => Tone::Good,
    };
    let mut lines = vec![
        format!("state     {}", paint(tone, state(Some(record)))),
        format!("command   {}", record.command_id),
        format!("instance  {}", record.owner),
    ];
    if let Some(response) = &record.response {
        lines.push(format!("attempt   {}", response.attempt));
    }
    for (number, error) in (1..).zip(&record.errors) {
        lines.push(format!("error {number:<3} {}", in_words(error, 1)));
    }
    lines
}

fn document(args: &OutcomeArgs, record: Option<&OutcomeRecord>) -> Value {
    let mut document = json!({
        "agent": args.agent, "action": args.action, "key": args.key, "state": state(record),
    });
    if let Some(record) = record {
        document["command_id"] = json!(record.command_id);
        document["owner"] = json!(record.owner);
        document["errors"] = json!(record.errors);
        if let Some(response) = &record.response {
            document["instance"] = json!(response.instance);
            document["attempt"] = json!(response.attempt);
            document["processing_ms"] = json!(response.processing_ms);
        }
    }
    document
}
