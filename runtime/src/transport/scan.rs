//! Reading a whole bucket, or a part of it, without a consumer.

use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::{client::Client, store::StoreError};

/// Entries asked for at once, and the bytes they may have together. For each batch the server counts what is left after it, which
/// takes it as long as sending hundreds of entries: few large batches. They fit the queue of a subscription.
const BATCH: u64 = 16_384;
const BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// The status of the frame that ends a batch.
const END_OF_BATCH: u16 = 204;

/// How long one entry may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the entries of a bucket under a filter (`>` for all), in the order in which they were stored, with their history
/// where the bucket has one. `take` gets key and value; markers of deleted keys are left out.
///
/// # Errors
/// When the server does not answer.
pub async fn scan(
    client: &Client,
    bucket: &str,
    filter: &str,
    mut take: impl FnMut(&str, &[u8]),
) -> Result<(), StoreError> {
    scan_with_headers(client, bucket, filter, |key, headers, body| {
        if headers.get("KV-Operation").is_none() {
            take(key, body);
        }
    })
    .await
}

/// As [`scan`], but only what was stored under the sequence `from` or later; `take` gets `None` for a deleted key. Returns where
/// to go on: who calls it again with that reads what has changed, and no more.
///
/// # Errors
/// When the server does not answer.
pub async fn scan_from(
    client: &Client,
    bucket: &str,
    from: u64,
    mut take: impl FnMut(&str, Option<&[u8]>),
) -> Result<u64, StoreError> {
    read(client, bucket, ">", from, |key, headers, body| {
        let is_deleted = headers.get("KV-Operation").is_some();
        take(key, Some(body).filter(|_| !is_deleted));
    })
    .await
}

/// As [`scan`], with the headers and with the markers of deleted keys.
pub(crate) async fn scan_with_headers(
    client: &Client,
    bucket: &str,
    filter: &str,
    take: impl FnMut(&str, &HeaderMap, &[u8]),
) -> Result<(), StoreError> {
    read(client, bucket, filter, 1, take).await.map(|_| ())
}

/// Batch after batch; returns the sequence after the last entry.
async fn read(
    client: &Client,
    bucket: &str,
    filter: &str,
    from: u64,
    mut take: impl FnMut(&str, &HeaderMap, &[u8]),
) -> Result<u64, StoreError> {
    let prefix = format!("$KV.{bucket}.");
    let mut next = from.max(1);
    loop {
        let request = json!({ "batch": BATCH, "max_bytes": BATCH_BYTES, "seq": next, "next_by_subj": format!("{prefix}{filter}") });
        let last = batch(
            client,
            bucket,
            request.to_string(),
            |subject, headers, body| {
                if let Some(key) = subject.strip_prefix(&prefix) {
                    take(key, headers, body);
                }
            },
        );
        let (last, has_more) = last.await?;
        next = last.map_or(next, |last| last + 1);
        if !has_more {
            return Ok(next);
        }
    }
}

/// One batch; returns the sequence of its last entry, and whether there are more after it.
async fn batch(
    client: &Client,
    bucket: &str,
    request: String,
    mut take: impl FnMut(&str, &HeaderMap, &[u8]),
) -> Result<(Option<u64>, bool), StoreError> {
    let unavailable = |reason: String| StoreError::Unavailable { reason };
    let inbox = client.nats().new_inbox();
    let frames = client.nats().subscribe(inbox.clone()).await;
    let mut frames = frames.map_err(|error| unavailable(error.to_string()))?;
    let asked = format!("$JS.API.DIRECT.GET.KV_{bucket}");
    let asking = client
        .nats()
        .publish_with_reply(asked.clone(), inbox, request.into());
    // The refusal may come before the first look.
    let mut refusals = client.denials().listen();
    asking
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    let mut last = None;
    loop {
        let frame = tokio::select! {
            frame = timeout(PATIENCE, frames.next()) => frame,
            () = refusals.refused(&asked) => return Err(StoreError::Denied { subject: asked }),
        };
        let Ok(Some(frame)) = frame else {
            return Err(unavailable(
                "a batch of entries was not sent in time".to_owned(),
            ));
        };
        match frame.status {
            None => {}
            // The end of this batch: with what is pending after it.
            Some(status) if status.as_u16() == END_OF_BATCH => {
                let more: u64 = header(&frame.headers, "Nats-Num-Pending").unwrap_or_default();
                return Ok((last, last.is_some() && more > 0));
            }
            Some(StatusCode::NOT_FOUND) => return Ok((None, false)),
            Some(status) => {
                return Err(unavailable(format!(
                    "the server answered with status {status}"
                )));
            }
        }
        last = header(&frame.headers, "Nats-Sequence").or(last);
        if let Some(headers) = &frame.headers
            && let Some(subject) = headers.get("Nats-Subject")
        {
            take(subject.as_str(), headers, &frame.payload);
        }
    }
}

fn header(headers: &Option<HeaderMap>, name: &str) -> Option<u64> {
    headers.as_ref()?.get(name)?.as_str().parse().ok()
}
