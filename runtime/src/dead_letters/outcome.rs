//! Removing the error outcome that would answer a redriven command instead of its handler.

use async_nats::{
    HeaderMap,
    jetstream::{message::StreamMessage, stream::RawMessageErrorKind},
};
use tokio::time::Instant;

use crate::{
    client::Client,
    message::{Format, Status},
    outcome::{OutcomeRecord, OutcomeState},
    store::{self, Outgoing, StoreError},
};

use super::{DeadLetterError, failed, redrive::STORE_TIMEOUT};

/// Looks at a record and the attempts to remove it. Each lost compare-and-set means that somebody else has written.
const ROUNDS: u32 = 5;

/// The server's codes for a lost compare-and-set, on one server and in a cluster.
const CONFLICTS: [u64; 2] = [10071, 10164];

/// How long the marker stays for those who watch the key.
const MARKER_AGE: &str = "60s";

/// Removes the outcome under `key` when it is an error, or the trace of failed attempts of this very command. A
/// result stays, and so does a reservation: somebody is working on it.
pub(super) async fn remove_error(
    client: &Client,
    key: &str,
    command_id: &str,
) -> Result<(), DeadLetterError> {
    for _ in 0..ROUNDS {
        let Some(raw) = read(client, key).await? else {
            return Ok(());
        };
        if !is_in_the_way(&raw, command_id) {
            return Ok(());
        }
        match remove(client, key, raw.sequence).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Refused { code, .. }) if CONFLICTS.contains(&code) => {}
            Err(error) => return Err(failed("remove the outcome of", error)),
        }
    }
    Err(failed(
        "remove the outcome of",
        "the outcome record keeps changing",
    ))
}

/// From the leader: a replica's older record would only cost a round, but a missing one would be overlooked.
async fn read(client: &Client, key: &str) -> Result<Option<StreamMessage>, DeadLetterError> {
    let verb = "read the outcome of";
    let bucket = client.namespace().outcomes_bucket();
    let stream = client
        .jetstream()
        .get_stream_no_info(format!("KV_{bucket}"))
        .await;
    let stream = stream.map_err(|error| failed(verb, error))?;
    match stream
        .raw_message_builder()
        .last_by_subject(format!("$KV.{bucket}.{key}"))
        .send()
        .await
    {
        Ok(raw) => Ok(Some(raw)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(verb, error)),
    }
}

fn is_in_the_way(raw: &StreamMessage, command_id: &str) -> bool {
    if raw.headers.get("KV-Operation").is_some() {
        return false;
    }
    let Ok(record) = Format::Msgpack.decode::<OutcomeRecord>(&raw.payload) else {
        return false;
    };
    match record.state {
        OutcomeState::Done => record
            .response
            .is_some_and(|response| response.status == Some(Status::Error)),
        OutcomeState::Failing => record.command_id == command_id,
        OutcomeState::Reserved => false,
    }
}

async fn remove(client: &Client, key: &str, revision: u64) -> Result<store::Stored, StoreError> {
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "DEL");
    headers.insert("Nats-TTL", MARKER_AGE);
    headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
    let subject = format!("$KV.{}.{key}", client.namespace().outcomes_bucket());
    let marker = Outgoing {
        subject,
        headers,
        body: Default::default(),
    };
    store::store(client, &marker, Instant::now() + STORE_TIMEOUT).await
}
