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
    failpoint::failpoint,
    message::{Command, McpError, RetryPolicy},
    resilience::{Checked, RetryConfig},
    store::{self, Outgoing, StoreError},
};

use super::{Shared, inbound::Inbound, lease::Lease};

/// A longer delay does not hold a place among the outstanding messages of its consumer.
const LONGEST_NAK: Duration = Duration::from_secs(5);

/// Messages that one instance holds back by a NAK at most: with eight instances, not half of what a
/// consumer may have outstanding.
const MOST_NAKS: u32 = 500;

/// Whatever waits longer is a schedule, not a retry.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The record of a command keeps the error of every attempt.
const MOST_RETRIES: u32 = 1_000;

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
        inbound.processing.retried();
        let nak = !again.elsewhere
            && inbound.lease.as_ref().is_some_and(Lease::can_be_given_back)
            && again.after <= LONGEST_NAK
            && self.held_back.0.load(Ordering::Relaxed) < MOST_NAKS;
        if !nak {
            return self.send_later(inbound, command, again).await;
        }
        failpoint("receive.before_give_back");
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
        let stored = store::store(&self.client, &outgoing, Instant::now() + STORE_TIMEOUT).await;
        inbound.processing.persisted("schedule", stored.is_ok());
        match stored {
            Ok(_) => {
                failpoint("receive.scheduled");
                if let Some(lease) = inbound.lease {
                    lease.acknowledge().await;
                }
            }
            Err(
                StoreError::TooLarge { .. }
                | StoreError::Refused { .. }
                | StoreError::Denied { .. },
            ) if inbound.lease.is_some() => {
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
        let namespace = self.client.namespace();
        // Not the subject under which it came: that of a pack is no command's.
        let due = namespace.command(&command.target, command.priority, &command.action);
        headers.insert("Nats-Schedule-Target", due);
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
        Outgoing {
            subject: namespace.delayed_command(&command.target, &command.id),
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

/// When the runtime tries again; `None` when the retries are spent. Of all the advice that the attempts
/// were given the smallest maximum holds; the latest delay is a floor.
pub(super) fn again(policy: &RetryPolicy, errors: &[McpError]) -> Option<Duration> {
    let advised = errors
        .iter()
        .filter_map(|error| error.max_retries)
        .min()
        .unwrap_or(u32::MAX);
    let failures = u32::try_from(errors.len()).unwrap_or(u32::MAX);
    if failures > policy.max_retries.min(advised).min(MOST_RETRIES) {
        return None;
    }
    // The policy comes from the wire: whatever it says is brought within bounds.
    let base_delay = Duration::from_millis(policy.base_delay_ms.max(1)).min(LONGEST_DELAY);
    let config = RetryConfig {
        max_retries: policy.max_retries,
        base_delay,
        max_delay: Duration::from_millis(policy.max_delay_ms).clamp(base_delay, LONGEST_DELAY),
        jitter: policy.jitter,
    };
    let config = Checked::new(config).ok()?;
    let advised = errors
        .last()?
        .retry_delay
        .map(|delay| delay.min(LONGEST_DELAY));
    Some(config.delay(failures.saturating_sub(1), advised, rand::random()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(max_retries: u32) -> RetryPolicy {
        RetryPolicy {
            max_retries,
            base_delay_ms: 100,
            max_delay_ms: 5_000,
            jitter: 0.0,
        }
    }

    #[test]
    fn the_runtime_follows_policy_and_advice() {
        let plain = McpError::temporary("E");
        let check = |max_retries, errors: &[McpError], expected: Option<u64>| {
            assert_eq!(
                again(&policy(max_retries), errors),
                expected.map(Duration::from_millis),
                "{errors:?}"
            );
        };
        check(3, std::slice::from_ref(&plain), Some(100));
        check(3, &[plain.clone(), plain.clone(), plain.clone()], Some(400));
        check(3, &vec![plain.clone(); 4], None);
        check(30, &vec![plain.clone(); 20], Some(5_000));
        check(0, std::slice::from_ref(&plain), None);
        check(9, &[plain.clone().max_retries(1), plain.clone()], None);
        check(9, &[plain.retry_after(Duration::from_secs(7))], Some(7_000));
    }

    #[test]
    fn absurd_policies_and_advice_stay_within_a_day() {
        let absurd = RetryPolicy {
            max_retries: u32::MAX,
            base_delay_ms: u64::MAX,
            max_delay_ms: u64::MAX,
            jitter: 0.0,
        };
        let error = McpError::temporary("E").retry_after(Duration::from_millis(u64::MAX));
        let delay = again(&absurd, &[error.clone(), error]).unwrap();
        assert!(delay <= LONGEST_DELAY.mul_f64(1.1), "{delay:?}");
    }

    proptest! {
        #[test]
        fn the_runtime_retries_never_too_soon_too_late_or_too_often(
            max_retries in 0_u32..8,
            base_delay_ms in 0_u64..2_000,
            max_delay_ms in 0_u64..20_000,
            jitter in 0.0..=1.0,
            advice in prop::collection::vec((prop::option::of(0_u32..8), prop::option::of(0_u64..100_000)), 1..12),
        ) {
            let policy = RetryPolicy { max_retries, base_delay_ms, max_delay_ms, jitter };
            let errors: Vec<McpError> = advice
                .iter()
                .map(|(max_retries, delay_ms)| {
                    let mut error = McpError::temporary("E");
                    error.max_retries = *max_retries;
                    error.retry_delay = delay_ms.map(Duration::from_millis);
                    error
                })
                .collect();
            let allowed = advice.iter().filter_map(|(max_retries, _)| *max_retries).fold(max_retries, u32::min);
            let delay = again(&policy, &errors);
            prop_assert_eq!(delay.is_some(), errors.len() <= allowed as usize);
            let Some(delay) = delay else { return Ok(()) };
            let doubled = u128::from(base_delay_ms.max(1)) << (errors.len() - 1);
            let most = u128::from(max_delay_ms.max(base_delay_ms.max(1)));
            let ceiling = Duration::from_millis(u64::try_from(doubled.min(most)).unwrap());
            let advised = Duration::from_millis(advice[advice.len() - 1].1.unwrap_or_default());
            prop_assert!(delay >= advised);
            // Seconds and a part in a billion: what is left of a float after multiplying such lengths.
            let tolerance = ceiling.as_secs_f64() * 1e-9 + 1e-9;
            // Whoever got the same advice comes back up to a tenth later, not all at once.
            prop_assert!(delay.as_secs_f64() <= ceiling.max(advised.mul_f64(1.1)).as_secs_f64() + tolerance);
            prop_assert!(delay.as_secs_f64() >= ceiling.as_secs_f64() * (1.0 - jitter) - tolerance);
        }
    }
}
