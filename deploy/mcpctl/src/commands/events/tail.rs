//! `mcpctl events tail`: an ordered consumer that leaves no trace on the server.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull},
};
use clap::Args;
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Client,
    runtime::{Event, Format},
};
use serde_json::{Value, json};

use super::valid;
use crate::{
    cli::Global,
    failure::{Failure, chain},
    output::{self, Tone, paint, utc},
    signals::Signals,
    streams,
};

/// Shows events as they come, until Ctrl-C or --count.
///
/// With --json each event is one line with a document of its own, so that a pipe can follow.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only the events of this agent
    #[arg(long, value_name = "AGENT")]
    source: Option<String>,
    /// Only events of this name
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Where to begin: `new`, `all`, or so long ago as `1h`
    #[arg(long, value_name = "WHEN", default_value = "new")]
    since: Since,
    /// Ends after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    New,
    All,
    Ago(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => Ok(Self::New),
            "all" => Ok(Self::All),
            span => humantime::parse_duration(span)
                .map(Self::Ago)
                .map_err(|_| "use `new`, `all`, or a duration such as `1h`".to_owned()),
        }
    }
}

impl Since {
    fn start(self, last_sequence: u64) -> Start {
        match self {
            Self::New => Start::Sequence(last_sequence + 1),
            Self::All => Start::Sequence(1),
            Self::Ago(span) => {
                let start = SystemTime::now().checked_sub(span);
                Start::Time(start.unwrap_or(SystemTime::UNIX_EPOCH))
            }
        }
    }
}

/// The first event that is shown. A consumer that the client makes anew before it has seen any begins with all of them again,
/// so what comes earlier is left out here.
#[derive(Debug, Clone, Copy)]
enum Start {
    Sequence(u64),
    Time(SystemTime),
}

impl Start {
    fn policy(self) -> DeliverPolicy {
        match self {
            Self::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            Self::Time(start) => DeliverPolicy::ByStartTime {
                start_time: start.into(),
            },
        }
    }

    fn shows(self, message: &Message) -> bool {
        let Ok(info) = message.info() else {
            return true;
        };
        match self {
            Self::Sequence(first) => info.stream_sequence >= first,
            Self::Time(start) => SystemTime::from(info.published) >= start,
        }
    }
}

pub(super) async fn run(args: TailArgs, global: &Global) -> Result<(), Failure> {
    let subject = subject(&args, global)?;
    let client = global.connect().await?;
    let mut signals = Signals::listen()?;
    let mut events = Box::pin(follow(&client, subject, args.since).await?);
    if args.count.is_none() {
        output::note("waiting for events; Ctrl-C ends");
    }
    let mut shown = 0;
    while args.count.is_none_or(|count| shown < count) {
        let message = tokio::select! {
            message = events.next() => message,
            () = signals.next() => return Ok(()),
        };
        let Some(message) = message else {
            return Err(Failure::unreachable("the server ended the subscription"));
        };
        let text = if global.json {
            document(&message).to_string()
        } else {
            in_words(&message)
        };
        if output::try_line(text).is_err() {
            return Ok(());
        }
        shown += 1;
    }
    Ok(())
}

fn subject(args: &TailArgs, global: &Global) -> Result<String, Failure> {
    let token = |name: &Option<String>| match name {
        Some(name) => valid(name).map(|name| name.to_string()),
        None => Ok("*".to_owned()),
    };
    Ok(format!(
        "{}.evt.{}.{}",
        global.namespace,
        token(&args.source)?,
        token(&args.event)?
    ))
}

/// The events as a stream that outlives reconnections: what the client cannot mend is logged and tried again by it.
async fn follow(
    client: &Client,
    subject: String,
    since: Since,
) -> Result<impl futures_util::Stream<Item = Message> + use<>, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::unreachable(format!("the events cannot be followed: {}", chain(error)))
    };
    let stream = streams::existing(client.jetstream(), &client.namespace().events_stream()).await?;
    let start = since.start(stream.cached_info().state.last_sequence);
    let config = pull::OrderedConfig {
        filter_subject: subject,
        deliver_policy: start.policy(),
        ..Default::default()
    };
    let consumer = stream
        .create_consumer(config)
        .await
        .map_err(|error| failed(&error))?;
    let messages = consumer.messages().await.map_err(|error| failed(&error))?;
    Ok(messages.filter_map(move |message| {
        let message = message.inspect_err(|error| {
            output::note(format!("trouble while following: {}", chain(error)))
        });
        std::future::ready(message.ok().filter(|message| start.shows(message)))
    }))
}

/// The event, beside it what the server knows about it.
fn document(message: &Message) -> Value {
    let mut document = match decoded(message) {
        Ok(event) => json!(event),
        Err(reason) => json!({ "undecodable": reason, "subject": message.subject.as_str() }),
    };
    if let Ok(info) = message.info() {
        document["stream_sequence"] = info.stream_sequence.into();
        document["stored_at"] = stored_ms(message).into();
    }
    document
}

fn in_words(message: &Message) -> String {
    let when = paint(Tone::Quiet, &utc(stored_ms(message)));
    match decoded(message) {
        Ok(event) => {
            let name = paint(Tone::Strong, &format!("{}.{}", event.source, event.name));
            let data =
                serde_json::to_string(&event.data).unwrap_or_else(|error| format!("({error})"));
            format!("{when}  {name}  {data}")
        }
        Err(reason) => format!("{when}  {}  undecodable: {reason}", message.subject),
    }
}

fn decoded(message: &Message) -> Result<Event, String> {
    let format = Format::of_message(&message.message).map_err(|error| error.to_string())?;
    format
        .decode(&message.payload)
        .map_err(|error| error.to_string())
}

/// When the server stored it, in Unix milliseconds.
fn stored_ms(message: &Message) -> u64 {
    let nanos = message
        .info()
        .map_or(0, |info| info.published.unix_timestamp_nanos());
    u64::try_from(nanos / 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_is_a_word_or_a_span() {
        let check =
            |text: &str, expected: Option<Since>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("new", Some(Since::New));
        check("all", Some(Since::All));
        check("1h", Some(Since::Ago(Duration::from_secs(3600))));
        check("yesterday", None);
    }
}
