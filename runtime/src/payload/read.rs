//! Fetching an object: batches of direct gets, no consumer, no more memory than the claim.
//!
//! Any replica answers a direct get, also one that lags behind; that there is nothing more is believed from the
//! stream's leader only.

use async_nats::{
    HeaderMap, HeaderValue, Message, Request, Subscriber,
    jetstream::stream::LastRawMessageErrorKind,
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    RETRY_PAUSE, STALL,
    claim::Claim,
    error::PayloadError,
    object::{Bucket, Failure, away, silent},
};

/// Chunks of one batch: the server's own bound.
const BATCH: u32 = 1000;

/// Bytes of one batch, which is what waits in memory besides the body.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Fetches what is claimed, and nothing else.
pub(super) async fn get(
    bucket: &Bucket,
    claim: &Claim,
    deadline: Instant,
) -> Result<Bytes, PayloadError> {
    let mut reading = None;
    loop {
        let reason = match timeout_at(
            deadline,
            bucket.on_this_connection(Box::pin(read_on(bucket, claim, &mut reading))),
        )
        .await
        {
            Ok(Ok(())) => break,
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Away(reason))) => reason,
            Err(_) => "not fetched in time".to_owned(),
        };
        if Instant::now() + RETRY_PAUSE >= deadline {
            return Err(PayloadError::Unavailable { reason });
        }
        tracing::debug!(
            name = claim.name,
            reason,
            "payload not fetched, trying again"
        );
        sleep(RETRY_PAUSE).await;
    }
    let reading: Reading = reading.expect("a finished read has begun");
    reading.finish(claim)
}

/// What has been read so far. A read that was interrupted goes on where it was.
struct Reading {
    subject: String,
    body: Vec<u8>,
    sha256: Sha256,
    /// The stream's sequence of the last chunk.
    last: u64,
    /// Whether chunks follow it, as far as is known.
    more: bool,
}

async fn read_on(
    bucket: &Bucket,
    claim: &Claim,
    reading: &mut Option<Reading>,
) -> Result<(), Failure> {
    let reading = match reading {
        Some(reading) => reading,
        None => reading.insert(open(bucket, claim).await?),
    };
    loop {
        while reading.more {
            batch(bucket, claim, reading).await?;
        }
        if reading.body.len() as u64 == claim.size {
            return Ok(());
        }
        ask_leader(bucket, claim, reading).await?;
    }
}

async fn open(bucket: &Bucket, claim: &Claim) -> Result<Reading, Failure> {
    let missing = PayloadError::Missing {
        name: claim.name.clone(),
        reason: "it was never stored or has expired",
    };
    let found = bucket
        .describe(&claim.name)
        .await?
        .ok_or(Failure::Final(missing))?;
    found.object.agrees(claim).map_err(Failure::Final)?;
    Ok(Reading {
        subject: bucket.chunks(&found.object.nuid),
        // Both sides agree on the size, which is under the limit.
        body: Vec::with_capacity(usize::try_from(claim.size).map_err(away)?),
        sha256: Sha256::new(),
        last: 0,
        more: claim.size > 0,
    })
}

/// Reads one batch. Its inbox is its own: what an interrupted one still brings goes nowhere.
async fn batch(bucket: &Bucket, claim: &Claim, reading: &mut Reading) -> Result<(), Failure> {
    let nats = bucket.jetstream.client();
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.map_err(away)?;
    let question = json!({
        "seq": reading.last + 1, "next_by_subj": reading.subject, "batch": BATCH, "max_bytes": BATCH_BYTES,
    });
    let request = Request::new()
        .inbox(inbox)
        .payload(question.to_string().into());
    let asking = bucket
        .jetstream
        .send_request(format!("DIRECT.GET.{}", bucket.stream()), request);
    timeout(STALL, asking)
        .await
        .map_err(|_| silent())?
        .map_err(away)?;
    let mut before = 0;
    while let Some(chunk) = next(&mut answers).await? {
        let place = Place::of(&chunk)?;
        // A reconnection or a full subscription has swallowed some: go on from the last that came.
        if place.before != before {
            return Err(Failure::Away("chunks were lost on their way".to_owned()));
        }
        before = place.sequence;
        reading.add(claim, &chunk.payload, place.sequence)?;
        reading.more = place.pending > 0;
        if !reading.more {
            return Ok(());
        }
    }
    // Nothing at all means nothing more; after some, the batch was full.
    reading.more = reading.more && before > 0;
    Ok(())
}

/// The next chunk, or `None` at the end of the batch.
async fn next(answers: &mut Subscriber) -> Result<Option<Message>, Failure> {
    let answer = timeout(STALL, answers.next()).await.map_err(|_| silent())?;
    let answer = answer.ok_or_else(|| away("the connection is closed"))?;
    match answer.status.map(|status| status.as_u16()) {
        None => Ok(Some(answer)),
        Some(204 | 404) => Ok(None),
        Some(status) => Err(away(format!(
            "the server answered {status} {}",
            answer.description.unwrap_or_default()
        ))),
    }
}

async fn ask_leader(bucket: &Bucket, claim: &Claim, reading: &mut Reading) -> Result<(), Failure> {
    let asking = async {
        let stream = bucket
            .jetstream
            .get_stream_no_info(bucket.stream())
            .await
            .map_err(away)?;
        match stream
            .get_first_raw_message_by_subject(&reading.subject, reading.last + 1)
            .await
        {
            Ok(message) => Ok(message),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Err(Failure::Final(PayloadError::Missing {
                    name: claim.name.clone(),
                    reason: "chunks of it are gone",
                }))
            }
            Err(error) => Err(away(error)),
        }
    };
    let chunk = timeout(STALL, asking).await.map_err(|_| silent())??;
    reading.add(claim, &chunk.payload, chunk.sequence)?;
    reading.more = true;
    Ok(())
}

impl Reading {
    fn add(&mut self, claim: &Claim, chunk: &[u8], sequence: u64) -> Result<(), Failure> {
        if (self.body.len() + chunk.len()) as u64 > claim.size {
            let reason = format!("it has more than {} bytes", claim.size);
            return Err(Failure::Final(PayloadError::Differs {
                name: claim.name.clone(),
                reason,
            }));
        }
        self.sha256.update(chunk);
        self.body.extend_from_slice(chunk);
        self.last = sequence;
        Ok(())
    }

    fn finish(self, claim: &Claim) -> Result<Bytes, PayloadError> {
        match self.sha256.finalize()[..] == claim.sha256 {
            true => Ok(self.body.into()),
            false => Err(PayloadError::Differs {
                name: claim.name.clone(),
                reason: "its bytes have another SHA-256".to_owned(),
            }),
        }
    }
}

/// Where in the stream a chunk is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    sequence: u64,
    /// The sequence of the chunk before it in the same batch, 0 for the first.
    before: u64,
    pending: u64,
}

impl Place {
    fn of(message: &Message) -> Result<Self, Failure> {
        message
            .headers
            .as_ref()
            .and_then(Self::read)
            .ok_or_else(|| away("the server's answer is no chunk"))
    }

    fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |header: &str| headers.get(header).map(HeaderValue::as_str)?.parse().ok();
        Some(Self {
            sequence: number("Nats-Sequence")?,
            before: number("Nats-Last-Sequence")?,
            pending: number("Nats-Num-Pending")?,
        })
    }
}

#[cfg(any(test, feature = "fuzzing"))]
/// Reads where a chunk is.
pub(super) fn read_place(headers: &HeaderMap) {
    let _ = Place::read(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_chunk_is_read_or_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Sequence", "7");
        headers.insert("Nats-Last-Sequence", "5");
        assert_eq!(Place::read(&headers), None);
        headers.insert("Nats-Num-Pending", "3");
        assert_eq!(
            Place::read(&headers),
            Some(Place {
                sequence: 7,
                before: 5,
                pending: 3
            })
        );
    }
}
