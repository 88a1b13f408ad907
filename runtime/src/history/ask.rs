//! Asking the instances of an agent for their last messages.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::{
    client::Client,
    error::SendError,
    message::{Format, Name, Token},
};

use super::PastMessage;

/// An instance that takes longer is busy beyond answering, or gone.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The last messages of one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceHistory {
    /// The instance.
    pub instance: String,
    /// Its messages, oldest first.
    pub messages: Vec<PastMessage>,
}

/// Asks all instances of an agent for their last `limit` messages each, and waits until `expected` of them have answered, or
/// 2 s.
pub(crate) async fn ask(
    client: &Client,
    agent: &Name,
    limit: usize,
    expected: usize,
) -> Result<Vec<InstanceHistory>, SendError> {
    let failed = |reason: String| SendError::Transport { reason };
    let question = Format::Msgpack
        .encode(&serde_json::json!({ "limit": limit }))
        .map_err(|error| failed(error.to_string()))?;
    let namespace = client.namespace();
    let reply_to = namespace.reply(client.requester().as_str(), Token::random().as_str());
    let nats = client.nats();
    let mut answers = nats
        .subscribe(reply_to.clone())
        .await
        .map_err(|error| failed(error.to_string()))?;
    nats.publish_with_reply(namespace.control(agent, "history"), reply_to, question)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let until = Instant::now() + LONGEST_WAIT;
    let mut histories: Vec<InstanceHistory> = Vec::new();
    while histories.len() < expected {
        let Ok(Some(answer)) = timeout_at(until, answers.next()).await else {
            break;
        };
        // Also the server's word that nobody listens.
        if let Ok(history) = Format::Json.decode(&answer.payload) {
            histories.push(history);
        }
    }
    histories.sort_by(|a, b| a.instance.cmp(&b.instance));
    Ok(histories)
}
