//! `mcpctl messages show`.

use async_nats::jetstream::message::StreamMessage;
use clap::Args;
use mcp_agent_sdk::{
    Client,
    runtime::persistence::{JetStreamPersistence, MessagePersistence, Reference, StoredMessage},
};

use crate::{
    answer::in_words,
    body,
    cli::Global,
    failure::{Failure, chain},
    output::{self, age, bytes},
};

use super::{document, place, stored_at};

/// Shows one stored message with its headers and its body.
///
/// Where there are several with the id, such as a dead letter and its redriven command, the one that still goes on. With
/// --json it is the document of `messages list` with `headers` and `body`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The message's id
    id: String,
    /// Without the body
    #[arg(long)]
    no_body: bool,
}

pub(super) async fn run(args: ShowArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let store = JetStreamPersistence::new(&client);
    let Some(message) = store.load(&args.id).await? else {
        return Err(Failure::answered(format!(
            "there is no stored message {}",
            args.id
        )));
    };
    // Acknowledged meanwhile is no failure: it is shown as it was.
    let raw = raw(&client, &message.reference).await?;
    let headers = raw.as_ref().map(|raw| body::headers(&raw.headers));
    let body = raw
        .filter(|_| !args.no_body)
        .map(|raw| body::body(&raw.headers, &raw.payload));
    if global.json {
        let mut document = document(&message);
        document["headers"] = headers.into();
        document["body"] = body.into();
        output::json(&document);
        return Ok(());
    }
    output::line(told(&message).join("\n"));
    for line in headers.iter().flat_map(body::lines) {
        output::line(format!("  {line}"));
    }
    if let Some(body) = body {
        output::json(&body);
    }
    Ok(())
}

fn told(message: &StoredMessage) -> Vec<String> {
    let lane = message.lane.map_or("unknown", |lane| lane.as_str());
    let mut lines = vec![
        format!("id        {}", message.id),
        format!("command   {}.{}", message.agent, message.action),
        format!("lane      {lane}"),
        format!(
            "state     {}, in: {}",
            message.state,
            place(&message.reference)
        ),
        format!("stored    {} ago, {}", age(message.age), stored_at(message)),
        format!("attempts  {}", message.attempts),
        format!("size      {}", bytes(message.size as u64)),
        format!("subject   {}", message.subject),
    ];
    if let Some(error) = &message.error {
        lines.push(format!("error     {}", in_words(error, 1)));
    }
    if let Reference::DeadLetter { sequence } = message.reference {
        lines.push(format!("autopsy   mcpctl dead show {sequence}"));
    }
    lines
}

/// The message as it lies in its stream; `None` when it has gone, or lies in none.
pub(in crate::commands) async fn raw(
    client: &Client,
    reference: &Reference,
) -> Result<Option<StreamMessage>, Failure> {
    use async_nats::jetstream::stream::RawMessageErrorKind;
    let namespace = client.namespace();
    let (stream, sequence) = match reference {
        Reference::Queue { sequence } | Reference::Delayed { sequence } => {
            (namespace.commands_stream(), *sequence)
        }
        Reference::DeadLetter { sequence } => (namespace.dead_letters_stream(), *sequence),
        Reference::Outcome { revision, .. } => {
            (format!("KV_{}", namespace.outcomes_bucket()), *revision)
        }
        _ => return Ok(None),
    };
    let failed = |error: &dyn std::error::Error| {
        Failure::unreachable(format!("the message cannot be read: {}", chain(error)))
    };
    let stream = client
        .jetstream()
        .get_stream_no_info(stream)
        .await
        .map_err(|error| failed(&error))?;
    match stream.raw_message_builder().sequence(sequence).send().await {
        Ok(raw) => Ok(Some(raw)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}
