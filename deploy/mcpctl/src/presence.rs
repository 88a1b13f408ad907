//! Which instances of agents are there: what anybody may read who may connect.

use mcp_agent_sdk::{Agents, Client, runtime::PresenceRecord};

use crate::{failure::Failure, streams};

/// The records of all instances, ordered by agent and instance.
pub(crate) async fn records(client: &Client) -> Result<Vec<PresenceRecord>, Failure> {
    let unread = match Agents::of(client).list().await {
        Ok(records) => return Ok(records),
        Err(error) => error,
    };
    // Nobody answers for a bucket that is not there; only who may ask more learns that this is the reason.
    let bucket = format!("KV_{}", client.namespace().agents_bucket());
    match streams::info(client.jetstream(), &bucket).await {
        Ok(None) => Err(streams::missing(&bucket)),
        _ => Err(unread.into()),
    }
}
