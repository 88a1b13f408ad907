//! Which instances of agents are there, read from the presence bucket.
//!
//! No consumer is needed: the stream says which keys there are, direct gets bring the records.

use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt, stream};
use mcp_agent_sdk::{Client, runtime::PresenceRecord};

use crate::{failure::Failure, streams};

/// Records asked for at once.
const CONCURRENCY: usize = 16;

/// The records of all instances, ordered by agent and instance.
pub(crate) async fn records(client: &Client) -> Result<Vec<PresenceRecord>, Failure> {
    let bucket = client.namespace().agents_bucket();
    let stream = streams::existing(client.jetstream(), &format!("KV_{bucket}")).await?;
    let keys = streams::subjects(&stream, &format!("$KV.{bucket}.>")).await?;
    let stream = &stream;
    let found = stream::iter(keys.into_keys()).map(|key| async move { record(stream, &key).await });
    let mut records: Vec<PresenceRecord> = found
        .buffered(CONCURRENCY)
        .filter_map(std::future::ready)
        .collect()
        .await;
    records.sort_by(|a, b| (&a.agent, &a.instance).cmp(&(&b.agent, &b.instance)));
    Ok(records)
}

/// One record; `None` for the marker of an instance that has gone, or one that has expired meanwhile.
async fn record(stream: &Stream, key: &str) -> Option<PresenceRecord> {
    let message = stream.direct_get_last_for_subject(key).await.ok()?;
    let is_marker = ["KV-Operation", "Nats-Marker-Reason"]
        .iter()
        .any(|name| message.headers.get(*name).is_some());
    if is_marker {
        return None;
    }
    serde_json::from_slice(&message.payload).ok()
}
