//! What the presence bucket holds, read by batches of direct gets, without a consumer.

use crate::{
    client::Client,
    message::{Name, Token},
    store::StoreError,
    transport,
};

use super::{InstanceChange, InstanceState, PresenceChange, PresenceRecord};

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

/// The instances of one agent, or of all; in no order.
///
/// # Errors
/// When the bucket is not there or the server does not answer.
pub async fn read_presence(
    client: &Client,
    agent: Option<&Name>,
) -> Result<Vec<Found>, StoreError> {
    let bucket = client.namespace().agents_bucket();
    let filter = agent.map_or_else(|| ">".to_owned(), |agent| format!("{agent}.*"));
    let mut found = Vec::new();
    transport::scan_with_headers(client, &bucket, &filter, |key, headers, body| {
        let Some(change) = PresenceChange::of(key, headers, body) else {
            return;
        };
        if let InstanceChange::Alive(record, lifetime) = change.change {
            found.push(Found {
                record: *record,
                revision: change.revision,
                lifetime,
            });
        }
    })
    .await?;
    Ok(found)
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
