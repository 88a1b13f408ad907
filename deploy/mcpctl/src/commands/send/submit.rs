//! `mcpctl send --submit`: handing a command over.

use mcp_agent_sdk::{Client, RetryConfig, SubmitCommand};
use serde_json::{Value, json};

use super::SendArgs;
use crate::{answer::Answer, cli::Global, commands::outcome, failure::Failure, output};

pub(super) async fn run(
    args: &SendArgs,
    client: &Client,
    parameters: &Value,
    retry: RetryConfig,
    global: &Global,
) -> Result<(), Failure> {
    let submitted = command(client, args, parameters, retry).await?;
    let (id, key) = (submitted.id(), submitted.key());
    let told = format!("submitted {id}\nkey       {key}");
    let Some(wait) = args.wait else {
        match global.json {
            true => output::json(&json!({
                "command_id": id, "agent": args.agent, "action": args.action, "key": key,
            })),
            false => output::line(told),
        }
        return Ok(());
    };
    // What is waited for is the result; the id is told at once all the same, in case the wait is cut short.
    output::note(told);
    let awaited = outcome::of_command(client, &args.agent, &args.action, key, id, wait).await?;
    match awaited.and_then(|record| record.response) {
        Some(reply) => Answer::new(&args.agent, &args.action)
            .with("action", args.action.as_str())
            .with("key", key)
            .show(reply, global),
        None => {
            let waited = humantime::format_duration(wait);
            let sentence = format!(
                "{}.{} has no outcome after {waited}",
                args.agent, args.action
            );
            let document = json!({
                "error": { "code": "TIMEOUT", "message": sentence },
                "command_id": id, "agent": args.agent, "action": args.action, "key": key,
            });
            let remedy = format!(
                "look again with `mcpctl outcome {} {} {key}`",
                args.agent, args.action
            );
            Err(Failure::unreachable(sentence)
                .remedy(remedy)
                .document(document))
        }
    }
}

fn command(
    client: &Client,
    args: &SendArgs,
    parameters: &Value,
    retry: RetryConfig,
) -> SubmitCommand {
    let mut command = client
        .submit_command(&args.agent, &args.action, parameters)
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
    command
}
