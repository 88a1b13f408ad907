//! What the presence bucket holds, read by batches of direct gets, without a consumer.

use crate::{
    client::Client,
    message::{Name, Token},
    store::StoreError,
    transport,
};

use super::{InstanceChange, InstanceKey, InstanceState, PresenceChange, PresenceRecord};

/// An instance in the bucket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
    /// Its record.
    pub record: PresenceRecord,
    /// The record's revision.
    pub revision: u64,
    /// How long it lives from when it was written.
    pub lifetime: std::time::Duration,
}

impl Found {
    /// Agent and instance.
    #[must_use]
    pub fn key(&self) -> InstanceKey {
        (self.record.agent.clone(), self.record.instance.clone())
    }
}

/// The instances of one agent, or of all; in no order.
///
/// # Errors
/// When the bucket is not there or the server does not answer.
pub async fn read_presence(
    client: &Client,
    agent: Option<&Name>,
) -> Result<Vec<Found>, StoreError> {
    let entries = entries(client, agent).await?;
    let found = entries.into_iter().filter_map(|entry| {
        let InstanceChange::Alive(record, lifetime) = entry.change else {
            return None;
        };
        Some(Found {
            record: *record,
            revision: entry.revision,
            lifetime,
        })
    });
    Ok(found.collect())
}

/// As [`read_presence`], with the marks that those have left who went lately.
pub(super) async fn entries(
    client: &Client,
    agent: Option<&Name>,
) -> Result<Vec<PresenceChange>, StoreError> {
    let bucket = client.namespace().agents_bucket();
    let filter = agent.map_or_else(|| ">".to_owned(), |agent| format!("{agent}.*"));
    let mut entries = Vec::new();
    transport::scan_with_headers(client, &bucket, &filter, |key, headers, body| {
        entries.extend(PresenceChange::of(key, headers, body));
    })
    .await?;
    Ok(entries)
}

/// Whether any instance of an agent is there to take commands.
pub(crate) async fn is_anyone_alive(client: &Client, agent: &Name) -> Result<bool, StoreError> {
    let found = read_presence(client, Some(agent)).await?;
    Ok(found.iter().any(takes_commands))
}

/// Whether another instance of an agent is there to take commands. When that cannot be learnt, no.
pub(crate) async fn others_alive(client: &Client, agent: &Name, instance: &Token) -> bool {
    let found = read_presence(client, Some(agent)).await.unwrap_or_default();
    let mut others = found
        .iter()
        .filter(|found| found.record.instance != instance.as_str());
    others.any(takes_commands)
}

/// One that is shutting down takes nothing up any more.
fn takes_commands(found: &Found) -> bool {
    found.record.state != InstanceState::Draining
}
