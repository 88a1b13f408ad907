//! Which instances of agents are there, as a list.

use crate::{
    client::Client,
    presence::{self, PresenceRecord},
    store::StoreError,
};

/// The presence records of all instances, ordered by agent and instance.
///
/// # Errors
/// When the bucket is not there or the server does not answer.
pub async fn instances(client: &Client) -> Result<Vec<PresenceRecord>, StoreError> {
    let found = presence::read_presence(client, None).await?;
    let mut records: Vec<PresenceRecord> = found.into_iter().map(|found| found.record).collect();
    records.sort_by(|a, b| (&a.agent, &a.instance).cmp(&(&b.agent, &b.instance)));
    Ok(records)
}
