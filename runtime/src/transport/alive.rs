//! Which instances of agents are there, read from the presence bucket without a consumer.

use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{client::Client, presence::PresenceRecord, store::StoreError};

/// Records asked for at once.
const CONCURRENCY: usize = 16;

/// The presence records of all instances, ordered by agent and instance.
///
/// # Errors
/// When the bucket is not there or the server does not answer.
pub async fn instances(client: &Client) -> Result<Vec<PresenceRecord>, StoreError> {
    let unavailable = |reason: String| StoreError::Unavailable { reason };
    let bucket = client.namespace().agents_bucket();
    let stream = client.jetstream().get_stream(format!("KV_{bucket}")).await;
    let stream = stream.map_err(|error| unavailable(error.to_string()))?;
    let subjects = stream.info_with_subjects(format!("$KV.{bucket}.>")).await;
    let subjects = subjects.map_err(|error| unavailable(error.to_string()))?;
    let keys: Vec<(String, usize)> = subjects
        .try_collect()
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let stream = &stream;
    let found = stream::iter(keys).map(|(key, _)| async move { record(stream, &key).await });
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
    match is_marker {
        true => None,
        false => serde_json::from_slice(&message.payload).ok(),
    }
}
