//! What could not be handled.

use mcp_agent_sdk::Client;

use super::finding::Finding;
use crate::{failure::Failure, streams};

/// Dead letters named by their subject; the rest is only counted.
const NAMED: usize = 5;

/// What could not be handled, the most frequent first.
pub(super) async fn check(client: &Client) -> Result<Finding, Failure> {
    let name = client.namespace().dead_letters_stream();
    let stream = streams::existing(client.jetstream(), &name).await?;
    let counts = streams::subjects(&stream, &format!("{}.dead.>", client.namespace())).await?;
    let total: usize = counts.values().sum();
    if total == 0 {
        return Ok(Finding::ok("dead letters", "none"));
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named: Vec<String> = counts
        .iter()
        .take(NAMED)
        .map(|(subject, count)| {
            format!(
                "{count} of {}",
                subject.splitn(3, '.').nth(2).unwrap_or(subject)
            )
        })
        .collect();
    Ok(
        Finding::warn("dead letters", format!("{total}: {}", named.join(", ")))
            .remedy("look at them with `mcpctl dead list`"),
    )
}
