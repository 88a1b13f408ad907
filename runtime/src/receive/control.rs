//! What an instance can be told by the control verbs.

use std::time::Duration;

use async_nats::Message;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{client::Client, error::SendError, message::Format, provenance};

/// A control message, read.
pub(super) enum Control {
    Cancel { command_id: String },
    Drain { instance: Option<String> },
    Breaker(Breaker),
    History(Wanted),
}

/// Which part of the history is asked for.
#[derive(Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    pub(super) instance: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Wanted {
    /// The answer of an instance: its id and its last messages.
    pub(super) fn answer(&self, client: &Client, instance: &str) -> serde_json::Value {
        let messages = client.history(self.limit.unwrap_or(usize::MAX));
        serde_json::json!({ "instance": instance, "messages": messages })
    }
}

/// What is to be done with a breaker of the instance that is told so.
#[derive(Deserialize)]
pub(super) struct Breaker {
    target: String,
    #[serde(default)]
    action: Option<String>,
    #[serde(rename = "do")]
    verb: Verb,
    #[serde(default)]
    for_ms: Option<u64>,
    #[serde(default)]
    pub(super) instance: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Open,
    Reset,
}

#[derive(Deserialize)]
struct Cancel {
    command_id: String,
}

#[derive(Default, Deserialize)]
struct Drain {
    #[serde(default)]
    instance: Option<String>,
    /// What answers of JetStream have and no order has: anybody can have them sent here, as a reply.
    #[serde(default, rename = "type")]
    answer: Option<IgnoredAny>,
    #[serde(default)]
    stream: Option<IgnoredAny>,
}

impl Breaker {
    pub(super) fn obey(&self, client: &Client) -> Result<(), SendError> {
        let action = self.action.as_deref();
        match self.verb {
            Verb::Open => {
                client.force_open(&self.target, action, self.for_ms.map(Duration::from_millis))
            }
            Verb::Reset => client.reset_breaker(&self.target, action),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
/// As [`read`], for whoever only wants it read.
pub(crate) fn read_control(message: &Message) {
    let _ = read(message);
}

/// `None` for a verb that is not known, or a body that cannot be read.
pub(super) fn read(message: &Message) -> Option<Control> {
    // Neither a schedule nor a delivery out of a stream is for a control subject.
    if provenance::borrowed(message, "-").is_some() || provenance::redirected(message) {
        return None;
    }
    Some(match message.subject.rsplit('.').next()? {
        "cancel" => {
            let body: Cancel = decode(message)?;
            Control::Cancel {
                command_id: body.command_id,
            }
        }
        "drain" => {
            let body: Drain = match message.payload.is_empty() {
                true => Drain::default(),
                false => decode(message)?,
            };
            if body.answer.is_some() || body.stream.is_some() {
                return None;
            }
            Control::Drain {
                instance: body.instance,
            }
        }
        "breaker" => Control::Breaker(decode(message)?),
        "history" => Control::History(decode(message)?),
        _ => return None,
    })
}

fn decode<T: DeserializeOwned>(message: &Message) -> Option<T> {
    Format::of_message(message)
        .ok()?
        .decode(&message.payload)
        .ok()
}
