//! Reading many at once: a search over all records, the checkpoints of one workflow, the definitions.

use std::{cmp::Reverse, collections::BinaryHeap};

use mcp_runtime::{Client, Token, transport};

use crate::{
    checkpoint::WorkflowCheckpoint, record::WorkflowRecord, shape::WorkflowShape, store::Store,
};

use super::{WorkflowError, filter::WorkflowFilter, peek::Peek};

/// Some of the workflows that a search has found, the last updated first.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkflowPage {
    /// The workflows.
    pub workflows: Vec<WorkflowRecord>,
    /// Where the next page begins, for [`WorkflowFilter::after`]; `None` when this is the last one. A workflow that changes
    /// between two pages moves to the front, so it may be missed by the pages that follow, but none comes twice.
    pub next: Option<String>,
}

/// A record's place in the result: the last updated first, then by id.
type Place = (Reverse<u64>, String);

pub(super) async fn search(
    client: &Client,
    store: &Store,
    filter: &WorkflowFilter,
) -> Result<WorkflowPage, WorkflowError> {
    let after = filter.after.as_deref().map(place).transpose()?;
    let limit = filter.limit.unwrap_or(usize::MAX).max(1);
    let mut found = First::new(limit);
    for shard in 0..store.shards() {
        let bucket = client.namespace().workflows_bucket(shard);
        let take = |_key: &str, body: &[u8]| {
            // What cannot be read is no workflow of ours.
            let Some(peek) = Peek::at(body) else { return };
            let at = (Reverse(peek.updated_at), peek.id);
            let is_after = |after: &Place| (after.0, after.1.as_str()) < at;
            if after.as_ref().is_none_or(is_after) && filter.matches(&peek, body) {
                found.offer(at, body);
            }
        };
        transport::scan(client, &bucket, ">", take).await?;
    }
    Ok(found.page())
}

/// The first so many of all that are offered, and whether there were more.
struct First {
    limit: usize,
    more: bool,
    /// The last of them on top.
    kept: BinaryHeap<(Place, Vec<u8>)>,
}

impl First {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            more: false,
            kept: BinaryHeap::new(),
        }
    }

    fn offer(&mut self, (updated_at, id): (Reverse<u64>, &str), body: &[u8]) {
        if self.kept.len() == self.limit {
            self.more = true;
            let last = self
                .kept
                .peek()
                .map(|(place, _)| (place.0, place.1.as_str()));
            if last.is_none_or(|last| last <= (updated_at, id)) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(((updated_at, id.to_owned()), body.to_vec()));
    }

    fn page(self) -> WorkflowPage {
        let kept = self.kept.into_sorted_vec();
        let last = kept.last().filter(|_| self.more);
        WorkflowPage {
            next: last.map(|((Reverse(updated_at), id), _)| format!("{updated_at}.{id}")),
            workflows: kept
                .iter()
                .filter_map(|(_, body)| WorkflowRecord::decode(body).ok())
                .collect(),
        }
    }
}

/// The place that a cursor stands for.
fn place(cursor: &str) -> Result<Place, WorkflowError> {
    let parts = cursor.split_once('.');
    let place = parts.and_then(|(at, id)| Some((Reverse(at.parse().ok()?), id.to_owned())));
    place.ok_or_else(|| WorkflowError::Invalid {
        reason: format!(
            "`{cursor}` is no cursor of a search; take the one that the page before gives"
        ),
    })
}

pub(super) async fn checkpoints(
    client: &Client,
    store: &Store,
    id: &Token,
) -> Result<Vec<WorkflowCheckpoint>, WorkflowError> {
    let bucket = client
        .namespace()
        .checkpoints_bucket(store.shard(id.as_str()));
    let mut found = Vec::new();
    let take = |_key: &str, body: &[u8]| found.extend(WorkflowCheckpoint::decode(body).ok());
    transport::scan(client, &bucket, &format!("{id}.>"), take).await?;
    found.sort_by_key(|checkpoint: &WorkflowCheckpoint| checkpoint.epoch);
    Ok(found)
}

pub(super) async fn definitions(client: &Client) -> Result<Vec<WorkflowShape>, WorkflowError> {
    let bucket = client.namespace().definitions_bucket();
    let mut found: Vec<WorkflowShape> = Vec::new();
    let take = |_key: &str, body: &[u8]| found.extend(serde_json::from_slice(body).ok());
    transport::scan(client, &bucket, ">", take).await?;
    // The order in which they were stored decides which version is the newest; the sort keeps it.
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_whatever_the_order_and_the_cursor_is_the_last() {
        let mut first = First::new(2);
        for (at, id) in [(1, "old"), (9, "b"), (5, "middle"), (9, "a"), (3, "older")] {
            first.offer((Reverse(at), id), b"");
        }
        assert!(first.more);
        let kept: Vec<_> = first.kept.clone().into_sorted_vec();
        let ids: Vec<&str> = kept.iter().map(|((_, id), _)| id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(first.page().next.as_deref(), Some("9.b"));
        assert_eq!(place("9.b").unwrap(), (Reverse(9), "b".to_owned()));
        assert!(place("nonsense").is_err());
    }
}
