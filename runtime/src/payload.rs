//! Bodies too large for one message: they travel by claim check through the object store `<ns>_payloads`.
//!
//! `claim` is what the headers say, `object` what the store says, `write` and `read` move the bytes. Objects
//! are removed by age alone, so nothing here deletes one that was ever visible.
//!
//! Written on chunks and descriptions instead of the client's own object store, which overwrites whatever has
//! the same name, waits for every chunk's acknowledgement before it sends the next, reads through a consumer of
//! its own, and has no deadline. The format is the common one: any client's object store reads ours and writes
//! for us.

mod claim;
mod error;
mod object;
mod read;
mod write;

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use error::PayloadError;

use crate::{client::Client, config::Config};
use claim::Claim;
use object::Bucket;

/// How long one body may be on its way, retries included: 64 MiB take this long at 9 Mbit/s. Callers with a
/// deadline of their own drop the future, which leaves nothing but chunks that nobody sees.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the server may be silent before a step counts as failed and is tried again.
const STALL: Duration = Duration::from_secs(5);

/// The pause before a failed step is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Room for headers that the caller adds after the check-in.
const HEADROOM: usize = 4 * 1024;

/// How large bodies may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PayloadLimits {
    /// A body up to this stays in its message.
    pub(crate) inline: usize,
    /// A body over this is refused by both sides.
    pub(crate) most: usize,
}

impl PayloadLimits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            inline: config.max_inline_body,
            most: config.max_body,
        }
    }
}

/// Stores a body that is too large for its message, and leaves the claim in `headers` instead.
///
/// A small body comes back unchanged. Safe to be repeated under the same `name`: the same bytes are found again,
/// other bytes are refused, and a crash at any moment leaves no object or a whole one.
pub(crate) async fn check_in(
    client: &Client,
    name: &str,
    body: Bytes,
    headers: &mut HeaderMap,
) -> Result<Bytes, PayloadError> {
    let limits = client.payload_limits();
    if body.len() > limits.most {
        return Err(PayloadError::TooLarge {
            size: body.len() as u64,
            limit: limits.most as u64,
        });
    }
    if body.is_empty() {
        // A claim among the headers is that of a message that is passed on.
        return Ok(body);
    }
    claim::remove(headers);
    let room = client
        .nats()
        .max_payload()
        .saturating_sub(wire_size(headers) + HEADROOM);
    if body.len() <= limits.inline.min(room) {
        return Ok(body);
    }
    let claim = Claim {
        name: name.to_owned(),
        size: body.len() as u64,
        sha256: claim::digest(&body).await,
    };
    let (bucket, deadline) = (Bucket::of(client), Instant::now() + TRANSFER_TIMEOUT);
    // Boxed, because every send would otherwise be of its size.
    Box::pin(write::put(&bucket, &claim, &body, deadline)).await?;
    claim.write(headers);
    Ok(Bytes::new())
}

/// Fetches the body that a message claims; `None` where it claims none.
///
/// Nothing is read of an object over the limit, or of another size than claimed. What comes back has the
/// claimed SHA-256.
pub(crate) async fn check_out(
    client: &Client,
    headers: Option<&HeaderMap>,
    body: &Bytes,
) -> Result<Option<Bytes>, PayloadError> {
    let Some(claim) = headers.map(Claim::read).transpose()?.flatten() else {
        return Ok(None);
    };
    let limit = client.payload_limits().most as u64;
    if claim.size > limit {
        return Err(PayloadError::TooLarge {
            size: claim.size,
            limit,
        });
    }
    if !body.is_empty() {
        return Err(PayloadError::Claim {
            reason: "the message has a body besides".to_owned(),
        });
    }
    let (bucket, deadline) = (Bucket::of(client), Instant::now() + TRANSFER_TIMEOUT);
    Box::pin(read::get(&bucket, &claim, deadline))
        .await
        .map(Some)
}

/// What the headers take of a message.
fn wire_size(headers: &HeaderMap) -> usize {
    let line = |name: &str, value: &async_nats::HeaderValue| {
        name.len() + value.as_str().len() + ": \r\n".len()
    };
    let lines = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| line(name.as_ref(), value)));
    lines.sum::<usize>() + "NATS/1.0\r\n\r\n".len()
}

#[cfg(any(test, feature = "fuzzing"))]
/// Reads what headers claim of a body.
pub(crate) fn read_headers(headers: &HeaderMap) {
    let _ = claim::Claim::read(headers);
    read::read_place(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_counted_as_they_are_sent() {
        let mut headers = HeaderMap::new();
        assert_eq!(wire_size(&headers), "NATS/1.0\r\n\r\n".len());
        headers.insert("A", "b");
        headers.append("A", "cd");
        assert_eq!(
            wire_size(&headers),
            "NATS/1.0\r\nA: b\r\nA: cd\r\n\r\n".len()
        );
    }
}
