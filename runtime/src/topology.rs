//! The streams, buckets and consumers of a namespace: created when missing, checked when there.
//!
//! What exists is never changed by the way. A stream or consumer with other settings is an error that names each difference,
//! because silently taking it over would weaken a promise that somebody else relies on. Only an administrator's
//! [`plan_upgrade`] changes it, where that loses nothing.
//!
//! `spec` and `consumer` describe what is needed, `compare` finds differences (in `words`), `apply` talks to the server,
//! `upgrade` changes what exists, `version` says which server is new enough.

mod apply;
mod compare;
mod consumer;
mod error;
mod spec;
mod upgrade;
mod version;
mod words;

use std::time::Duration;

use async_nats::jetstream::Context;
use futures_util::{StreamExt, TryStreamExt, stream};

pub use compare::Difference;
pub(crate) use consumer::expect_consumers;
pub use consumer::{EventConsumer, Start, ensure_agent, ensure_event_consumer, ensure_workflow};
pub use error::TopologyError;
pub use spec::TOPOLOGY_VERSION;
pub use upgrade::{Change, Refusal, UpgradePlan, plan_upgrade};
pub use version::ServerVersion;

use apply::{check, fetch_or_create};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests under way at once. One shard needs nine; the server answers any number, one after the other.
const CONCURRENCY: usize = 16;

/// What is created, and what existing streams are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyConfig {
    /// First token of every subject, prefix of every stream and bucket (default `mcp`).
    pub namespace: String,
    /// Copies of each stream in a cluster. `None` (default): accept what is there, 1 for what is new.
    pub replicas: Option<u8>,
    /// Shards of the workflow streams, fixed at creation. `None` (default): what is there, 1 when new.
    pub workflow_shards: Option<u16>,
    /// How long events are kept (default 7 days).
    pub event_max_age: Duration,
    /// How long dead letters are kept (default 30 days).
    pub dead_max_age: Duration,
    /// How long an outcome answers for its idempotency key (default 24 h).
    pub outcome_ttl: Duration,
    /// How long bodies too large for one message are kept (default 24 h).
    pub payload_ttl: Duration,
    /// How long the server recognises a message that is published again (default 2 min).
    pub duplicate_window: Duration,
    /// Size limits, where there are to be any.
    pub max_bytes: SizeLimits,
}

/// Size limits in bytes. `None` (default): accept what is there, unlimited for what is new.
///
/// Commands and workflow tasks are missing on purpose: a limit would have to drop or refuse accepted work, so only
/// the account's storage bounds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizeLimits {
    /// Of the event stream, which drops its oldest events.
    pub events: Option<u64>,
    /// Of the dead letters, which refuse new ones.
    pub dead_letters: Option<u64>,
    /// Of the outcome records, which refuse new ones.
    pub outcomes: Option<u64>,
    /// Of the large bodies, which refuse new ones.
    pub payloads: Option<u64>,
    /// Of each shard of workflow records, which refuses new ones.
    pub workflows: Option<u64>,
    /// Of each shard of checkpoints, which refuses new ones.
    pub checkpoints: Option<u64>,
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            namespace: "mcp".to_owned(),
            replicas: None,
            workflow_shards: None,
            event_max_age: 7 * DAY,
            dead_max_age: 30 * DAY,
            outcome_ttl: DAY,
            payload_ttl: DAY,
            duplicate_window: 2 * MINUTE,
            max_bytes: SizeLimits::default(),
        }
    }
}

/// What was found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topology {
    /// The number of workflow shards of the namespace.
    pub shards: u16,
}

/// Creates what is missing and checks what is there. A complete topology costs two round trips; any number of
/// processes may do this at the same time.
///
/// # Errors
/// [`TopologyError::Differs`] when something exists with other settings; else when the server refuses or does not
/// answer.
pub async fn ensure(context: &Context, config: &TopologyConfig) -> Result<Topology, TopologyError> {
    let shards = ensure_shards(context, config).await?;
    let others = (1..shards).map(|shard| spec::tasks(config, shard, shards));
    stream::iter(
        spec::all_but_tasks(config, shards)
            .into_iter()
            .chain(others),
    )
    .map(|wanted| async move {
        let found = fetch_or_create(context, &wanted).await?;
        check(&wanted, &found)
    })
    .buffered(CONCURRENCY)
    .try_collect::<()>()
    .await?;
    Ok(Topology { shards })
}

/// The first tasks stream comes first: what it says about shards decides which other streams there are.
async fn ensure_shards(context: &Context, config: &TopologyConfig) -> Result<u16, TopologyError> {
    let wanted = spec::tasks(config, 0, config.workflow_shards.unwrap_or(1).max(1));
    let found = fetch_or_create(context, &wanted).await?;
    let shards = config
        .workflow_shards
        .or_else(|| spec::shards(&found))
        .unwrap_or(1)
        .max(1);
    check(&spec::tasks(config, 0, shards), &found)?;
    Ok(shards)
}

/// How many workflow shards a namespace has; fixed when its topology was made.
///
/// # Errors
/// When the streams are not there or the server does not answer.
pub async fn workflow_shards(context: &Context, namespace: &str) -> Result<u16, TopologyError> {
    let found = apply::existing(context, &format!("{namespace}_tasks_0")).await?;
    Ok(spec::shards(&found).unwrap_or(1).max(1))
}

/// Whether the namespace lies on several servers: then a direct read may be older than a write.
///
/// # Errors
/// When the streams are not there or the server does not answer.
pub async fn is_replicated(context: &Context, namespace: &str) -> Result<bool, TopologyError> {
    let found = apply::existing(context, &format!("{namespace}_tasks_0")).await?;
    Ok(found.num_replicas > 1)
}

/// Asks whether the server is new enough and has JetStream.
///
/// # Errors
/// [`TopologyError::OldServer`] and [`TopologyError::NoJetStream`] are final; others may pass.
pub async fn check_server(context: &Context) -> Result<ServerVersion, TopologyError> {
    let version = new_enough(&context.client().server_info().version)?;
    apply::account(context).await?;
    Ok(version)
}

fn new_enough(version: &str) -> Result<ServerVersion, TopologyError> {
    match ServerVersion::parse(version) {
        Some(version) if version >= ServerVersion::MINIMUM => Ok(version),
        _ => Err(TopologyError::OldServer {
            found: version.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn old_server_is_refused_with_both_versions() {
        assert_eq!(new_enough("2.12.3").unwrap().to_string(), "2.12.3");
        assert_eq!(
            new_enough("2.9.10").unwrap_err().to_string(),
            "the server is nats-server 2.9.10, but 2.12.0 or newer is needed"
        );
    }
}
