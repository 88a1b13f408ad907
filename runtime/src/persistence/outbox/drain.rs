//! Emptying the outbox: in the order of the lanes, each entry cleared only after its publish acknowledgement.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    message::{McpError, code},
    persistence::PersistenceError,
    store::{self, StoreError},
};

use super::{Entry, Outbox, Place, Verb};

/// Entries sent before those acknowledged are cleared, in one write. Also the most that a crash sends twice.
const BATCH: usize = 64;

/// How long one publish is tried before the server is taken to be away again.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause before entries are tried again that could not be sent.
const PAUSE: Duration = Duration::from_secs(1);

/// Entries that the server refuses in a row before the rest is left for the next round: then it is not about them.
const MOST_PASSED_OVER: usize = 16;

/// How a round ended.
enum Round {
    /// Nothing that can be sent is left.
    Empty,
    /// Something is left for later.
    Left,
}

/// What became of one entry.
enum Sent {
    Acknowledged,
    /// The server will never take it.
    Never(McpError),
    /// The server does not take it now; others may go.
    Refused,
    /// The server cannot be reached.
    Away,
}

impl Outbox {
    /// Sends what waits, whenever the server can be reached, until told to stop. A second call waits for the first.
    ///
    /// Entries of higher lanes go first, those of one lane in their order; one that the server refuses is passed over
    /// and tried again. One that can never be sent stays as [dead](super::super::MessageState::Dead).
    pub async fn drain(&self, client: &Client, stop: &CancellationToken) {
        let _one_at_a_time = tokio::select! {
            guard = self.inner.draining.lock() => guard,
            () = stop.cancelled() => return,
        };
        let mut connections = client.connections();
        while !stop.is_cancelled() {
            let round = match client.is_connected() {
                true => self.round(client, stop).await,
                false => Ok(Round::Left),
            };
            let left = match round {
                Ok(Round::Empty) => false,
                Ok(Round::Left) => true,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be emptied");
                    true
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.inner.spooled.notified(), if !left => {}
                Ok(()) = connections.changed(), if left => {}
                () = sleep(PAUSE), if left => {}
            }
        }
    }

    async fn round(
        &self,
        client: &Client,
        stop: &CancellationToken,
    ) -> Result<Round, PersistenceError> {
        let mut passed_over: Vec<Place> = Vec::new();
        loop {
            let skipped = passed_over.clone();
            let batch = self
                .read(move |book| book.sendable(&skipped, BATCH))
                .await?;
            if batch.is_empty() {
                return Ok(if passed_over.is_empty() {
                    Round::Empty
                } else {
                    Round::Left
                });
            }
            let mut acknowledged = Vec::with_capacity(batch.len());
            let mut goes_on = true;
            for (place, entry) in batch {
                let sent = tokio::select! {
                    sent = send(client, &entry) => sent,
                    () = stop.cancelled() => Sent::Away,
                };
                match sent {
                    Sent::Acknowledged => acknowledged.push(place),
                    Sent::Never(error) => self.write(move |book| book.refuse(place, error)).await?,
                    Sent::Refused => passed_over.push(place),
                    Sent::Away => goes_on = false,
                }
                goes_on &= passed_over.len() < MOST_PASSED_OVER;
                if !goes_on {
                    break;
                }
            }
            self.clear(acknowledged).await?;
            if !goes_on {
                return Ok(Round::Left);
            }
        }
    }

    async fn clear(&self, acknowledged: Vec<Place>) -> Result<(), PersistenceError> {
        if acknowledged.is_empty() {
            return Ok(());
        }
        let sent = acknowledged.len();
        let cleared = self.write(move |book| book.remove(&acknowledged)).await;
        for _ in 0..sent {
            let _ = self
                .inner
                .counters
                .count(Verb::MarkProcessed, cleared.as_ref());
        }
        tracing::info!(sent, "commands from the outbox were stored by the server");
        cleared.map(drop)
    }
}

async fn send(client: &Client, entry: &Entry) -> Sent {
    let outgoing = entry.envelope.outgoing_aged();
    match store::store(client, &outgoing, Instant::now() + PUBLISH_TIMEOUT).await {
        Ok(_) => Sent::Acknowledged,
        Err(error @ StoreError::TooLarge { .. }) => {
            tracing::error!(%error, "a command in the outbox can never be sent");
            Sent::Never(McpError::permanent(code::PAYLOAD_TOO_LARGE).message(error.to_string()))
        }
        Err(error @ (StoreError::Refused { .. } | StoreError::Denied { .. })) => {
            tracing::warn!(%error, "the server refuses a command from the outbox, trying again later");
            Sent::Refused
        }
        Err(StoreError::Unavailable { .. }) => Sent::Away,
    }
}
