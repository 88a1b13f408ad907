//! Storing an object so that it appears whole, once, and never in place of another.
//!
//! Chunks go under a subject that nobody else has; then the description is created by compare-and-set. A crash
//! before that leaves chunks that nobody sees and age removes. Two writers both store chunks, one of them gets
//! the name.

use std::collections::VecDeque;

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        context::{PublishAckFuture, PublishErrorKind},
    },
};
use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use uuid::Uuid;

use super::{
    RETRY_PAUSE, STALL,
    claim::Claim,
    error::PayloadError,
    object::{Bucket, Description, Failure, Options, away, digest_text, silent},
};

/// What object stores of all clients use.
const CHUNK_BYTES: usize = 128 * 1024;

/// Chunks on their way at once, 4 MiB: enough to hide a round trip, far from what makes a server drop publishes.
const WINDOW: usize = 32;

/// The server's answers to a lost compare-and-set, from a single server and from a cluster.
const CONFLICTS: [u64; 2] = [10_071, 10_164];

/// Stores `body` under the name of its claim, or finds it there.
pub(super) async fn put(
    bucket: &Bucket,
    claim: &Claim,
    body: &Bytes,
    deadline: Instant,
) -> Result<(), PayloadError> {
    loop {
        let reason = match timeout_at(deadline, put_once(bucket, claim, body)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Away(reason))) => reason,
            Err(_) => "not stored in time".to_owned(),
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(PayloadError::Unavailable { reason });
        }
        tracing::debug!(
            name = claim.name,
            reason,
            "payload not stored, trying again"
        );
        sleep(RETRY_PAUSE).await;
    }
}

async fn put_once(bucket: &Bucket, claim: &Claim, body: &Bytes) -> Result<(), Failure> {
    let Name::Free { revision } = look(bucket, claim).await? else {
        return Ok(());
    };
    // A new one for each try: chunks of an earlier one may still arrive, and would be read as part of this.
    let nuid = Uuid::now_v7().simple().to_string();
    let mut pending = VecDeque::with_capacity(WINDOW);
    let chunks = match bucket
        .on_this_connection(upload(bucket, &nuid, body, &mut pending))
        .await
    {
        Ok(chunks) => chunks,
        Err(failure) => {
            if matches!(failure, Failure::Final(_)) {
                settle(pending).await;
            }
            purge(bucket, &nuid).await;
            return Err(failure);
        }
    };
    let object = Description {
        name: claim.name.clone(),
        bucket: bucket.name.clone(),
        nuid,
        size: claim.size,
        chunks,
        digest: Some(digest_text(&claim.sha256)),
        modified: OffsetDateTime::now_utc().format(&Rfc3339).ok(),
        deleted: false,
        options: Some(Options {
            link: None,
            max_chunk_size: Some(CHUNK_BYTES as u64),
        }),
    };
    match bucket
        .on_this_connection(create(bucket, &object, revision))
        .await?
    {
        Created::Yes => Ok(()),
        Created::TooLate => lost(bucket, claim, &object.nuid).await,
    }
}

/// What a name stands for now.
enum Name {
    /// Nothing; the compare-and-set has to name this revision.
    Free { revision: u64 },
    /// The very body, in these chunks.
    Same { nuid: String },
}

async fn look(bucket: &Bucket, claim: &Claim) -> Result<Name, Failure> {
    let taken = || {
        Failure::Final(PayloadError::Taken {
            name: claim.name.clone(),
        })
    };
    match bucket.describe(&claim.name).await {
        Ok(None) => Ok(Name::Free { revision: 0 }),
        Ok(Some(found)) if found.object.deleted => Ok(Name::Free {
            revision: found.sequence,
        }),
        Ok(Some(found)) => {
            // Without a digest nobody knows what it is.
            let same = found.object.digest.is_some() && found.object.agrees(claim).is_ok();
            same.then_some(Name::Same {
                nuid: found.object.nuid,
            })
            .ok_or_else(taken)
        }
        Err(Failure::Final(PayloadError::Differs { .. })) => Err(taken()),
        Err(failure) => Err(failure),
    }
}

/// Somebody has the name: perhaps we, by a publish whose acknowledgement was lost.
async fn lost(bucket: &Bucket, claim: &Claim, nuid: &str) -> Result<(), Failure> {
    let now = look(bucket, claim).await;
    match now {
        Ok(Name::Same { nuid: stored }) if stored == nuid => Ok(()),
        Ok(Name::Same { .. }) => {
            purge(bucket, nuid).await;
            Ok(())
        }
        Ok(Name::Free { .. }) => {
            purge(bucket, nuid).await;
            Err(Failure::Away(
                "the object was deleted while it was stored".to_owned(),
            ))
        }
        Err(Failure::Final(error)) => {
            purge(bucket, nuid).await;
            Err(Failure::Final(error))
        }
        // Unknown whose it is: not to be purged.
        Err(failure) => Err(failure),
    }
}

/// Publishes the chunks with several on their way, and returns how many they are.
async fn upload(
    bucket: &Bucket,
    nuid: &str,
    body: &Bytes,
    pending: &mut VecDeque<PublishAckFuture>,
) -> Result<u64, Failure> {
    let subject = bucket.chunks(nuid);
    let size = CHUNK_BYTES
        .min(bucket.jetstream.client().max_payload())
        .max(1);
    let (mut chunks, mut last) = (0, 0);
    for start in (0..body.len()).step_by(size) {
        if pending.len() == WINDOW {
            last = acknowledged(pending.pop_front(), last).await?;
        }
        let chunk = body.slice(start..body.len().min(start + size));
        let publishing = bucket.jetstream.publish(subject.clone(), chunk);
        pending.push_back(
            timeout(STALL, publishing)
                .await
                .map_err(|_| silent())?
                .map_err(away)?,
        );
        chunks += 1;
    }
    while !pending.is_empty() {
        last = acknowledged(pending.pop_front(), last).await?;
    }
    Ok(chunks)
}

/// Waits for the oldest acknowledgement. One chunk behind its successor would spoil the object.
async fn acknowledged(pending: Option<PublishAckFuture>, last: u64) -> Result<u64, Failure> {
    let Some(pending) = pending else {
        return Ok(last);
    };
    let stored = timeout(STALL, pending.into_future())
        .await
        .map_err(|_| silent())?
        .map_err(refused)?;
    match stored.sequence > last {
        true => Ok(stored.sequence),
        false => Err(Failure::Away("chunks were stored out of order".to_owned())),
    }
}

/// Waits for the chunks still on their way: behind a purge they would be stored in the room it makes.
async fn settle(pending: VecDeque<PublishAckFuture>) {
    let settling = async {
        for acknowledgement in pending {
            // Stored or refused, either will do.
            let _ = acknowledgement.await;
        }
    };
    let _ = timeout(STALL, settling).await;
}

enum Created {
    Yes,
    TooLate,
}

/// Gives the object its name, unless the name has changed since it was looked at.
async fn create(bucket: &Bucket, object: &Description, revision: u64) -> Result<Created, Failure> {
    let body = serde_json::to_vec(object).map_err(away)?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
    let publishing = async {
        let pending = bucket.jetstream.publish_with_headers(
            bucket.description(&object.name),
            headers,
            body.into(),
        );
        pending.await?.await
    };
    match timeout(STALL, publishing).await.map_err(|_| silent())? {
        Ok(_) => Ok(Created::Yes),
        Err(error) if is_conflict(&error) => Ok(Created::TooLate),
        Err(error) => Err(refused(error)),
    }
}

fn is_conflict(error: &jetstream::context::PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || answer(error).is_some_and(|answer| CONFLICTS.contains(&answer.error_code().0))
}

fn answer(error: &jetstream::context::PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// A full store stays full for a while: the whole body is not sent again and again to hear the same.
fn refused(error: jetstream::context::PublishError) -> Failure {
    match answer(&error) {
        Some(answer) => Failure::Final(PayloadError::Unavailable {
            reason: format!("the server refused: {answer}"),
        }),
        None => away(error),
    }
}

/// Takes back chunks that no description names. What this misses is removed by age, as all is where rights are given out: who may
/// purge may take everything from everybody.
async fn purge(bucket: &Bucket, nuid: &str) {
    let purging = async {
        let stream = bucket
            .jetstream
            .get_stream_no_info(bucket.stream())
            .await
            .ok()?;
        stream.purge().filter(bucket.chunks(nuid)).await.ok()
    };
    let purging = bucket.unless_purging_is_refused(purging);
    if !matches!(timeout(STALL, purging).await, Ok(Some(_))) {
        tracing::debug!(nuid, "chunks of an abandoned payload are left to their age");
    }
}
