//! Giving a command back, to be tried again later or elsewhere.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_nats::HeaderMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::{
    dead_letter::without_server_headers,
    message::Command,
    store::{self, Outgoing, StoreError},
};

use super::{Shared, inbound::Inbound};

/// A longer delay does not hold a place among the outstanding messages of its consumer.
const LONGEST_NAK: Duration = Duration::from_secs(5);

/// Messages that one instance holds back by a NAK at most: with eight instances, not half of what a
/// consumer may have outstanding.
const MOST_NAKS: u32 = 500;

const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// When and where a command is tried again.
pub(super) struct Again {
    pub(super) after: Duration,
    pub(super) elsewhere: bool,
    pub(super) failures: u32,
}

/// How many messages this instance holds back by a NAK.
#[derive(Default)]
pub(super) struct HeldBack(AtomicU32);

impl Shared {
    /// Gives a failed command back: by a delayed NAK while it is short and there is room, else as a
    /// delayed command.
    pub(super) async fn give_back(&self, inbound: Inbound, command: &Command, again: Again) {
        tracing::debug!(action = %command.action, failures = again.failures, delay_ms = again.after.as_millis(), "trying a command again");
        let nak = !again.elsewhere
            && again.after <= LONGEST_NAK
            && self.held_back.0.load(Ordering::Relaxed) < MOST_NAKS;
        if !nak {
            return self.send_later(inbound, command, again).await;
        }
        let Some(lease) = inbound.lease else { return };
        self.held_back.0.fetch_add(1, Ordering::Relaxed);
        lease.give_back(again.after).await;
        let shared = self.myself();
        tokio::spawn(async move {
            tokio::time::sleep(again.after).await;
            if let Some(shared) = shared.upgrade() {
                shared.held_back.0.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    /// Stores the command anew, with a schedule, and then lets go of the delivered one.
    pub(super) async fn send_later(&self, inbound: Inbound, command: &Command, again: Again) {
        let outgoing = self.schedule(&inbound, command, &again);
        match store::store(
            self.client.nats(),
            &outgoing,
            Instant::now() + STORE_TIMEOUT,
        )
        .await
        {
            Ok(_) => {
                if let Some(lease) = inbound.lease {
                    lease.acknowledge().await;
                }
            }
            Err(StoreError::TooLarge { .. }) | Err(StoreError::Refused { .. })
                if inbound.lease.is_some() =>
            {
                tracing::warn!(
                    "the server does not take a delayed command, giving the original back instead"
                );
                if let Some(lease) = inbound.lease {
                    lease.give_back(again.after).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "a delayed command could not be stored, the original stays queued")
            }
        }
    }

    fn schedule(&self, inbound: &Inbound, command: &Command, again: &Again) -> Outgoing {
        let mut headers = without_server_headers(inbound.message.headers.as_ref());
        let due_ms = self.client.clock().now_ms()
            + i64::try_from(again.after.as_millis()).unwrap_or(i64::MAX / 2);
        headers.insert("Nats-Schedule", format!("@at {}", rfc3339(due_ms)));
        headers.insert("Nats-Schedule-Target", inbound.message.subject.as_str());
        // The schedule itself is published once, however often the publish is sent.
        let message_id = format!(
            "{}.{}.later{}",
            command.id, inbound.info.stream_sequence, again.failures
        );
        headers.insert("Nats-Msg-Id", message_id);
        // The time until it is due counts: the time to live goes on meanwhile.
        let age = inbound.age(self) + again.after;
        headers.insert("Mcp-Age-Ms", age.as_millis().to_string());
        set_not_instance(
            &mut headers,
            again.elsewhere.then(|| self.instance.as_str()),
        );
        let subject = self
            .client
            .namespace()
            .delayed_command(&command.target, &command.id);
        Outgoing {
            subject,
            headers,
            body: inbound.message.payload.clone(),
        }
    }
}

fn set_not_instance(headers: &mut HeaderMap, instance: Option<&str>) {
    if let Some(instance) = instance {
        headers.insert("Mcp-Not-Instance", instance);
    }
}

fn rfc3339(unix_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
