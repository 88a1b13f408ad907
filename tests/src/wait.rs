//! Waiting for conditions, never for a time.

use std::{future::Future, time::Duration};

use mcp_agent_sdk::{Client, runtime::PresenceRecord};
use tokio::time::{Instant, sleep};

/// How long a test waits for anything. Generous: a machine that compiles beside it is slow, and nobody waits in vain.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until the condition holds.
///
/// # Panics
/// When it never does.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            Instant::now() < give_up,
            "waited {PATIENCE:?} in vain: {what}"
        );
        sleep(PAUSE).await;
    }
}

/// The presence records of an agent.
pub async fn instances(client: &Client, agent: &str) -> Vec<PresenceRecord> {
    let Ok(bucket) = client
        .jetstream()
        .get_key_value(client.namespace().agents_bucket())
        .await
    else {
        return Vec::new();
    };
    let Ok(stream) = client
        .jetstream()
        .get_stream(format!("KV_{}", bucket.name))
        .await
    else {
        return Vec::new();
    };
    let subjects = stream
        .info_with_subjects(format!("$KV.{}.{agent}.>", bucket.name))
        .await;
    let keys: Vec<(String, usize)> = match subjects {
        Ok(subjects) => futures_util::TryStreamExt::try_collect(subjects)
            .await
            .unwrap_or_default(),
        Err(_) => return Vec::new(),
    };
    let mut records = Vec::new();
    for (subject, _) in keys {
        let key = subject.splitn(3, '.').nth(2).unwrap_or_default();
        // A marker of an instance that has gone is no value.
        if let Ok(Some(value)) = bucket.get(key).await {
            records.extend(serde_json::from_slice(&value).ok());
        }
    }
    records
}

/// Waits until an agent has exactly so many instances.
///
/// # Panics
/// When it never has.
pub async fn present(client: &Client, agent: &str, count: usize) {
    eventually(&format!("{count} instances of {agent}"), || async {
        instances(client, agent).await.len() == count
    })
    .await;
}
