//! Reading many: workflows, checkpoints, definitions.
//!
//! The server sends the entries of a bucket in batches, from the stream's beginning, without a consumer.

use mcp_runtime::{Client, Name, Token, transport};

use crate::{
    checkpoint::WorkflowCheckpoint,
    record::{WorkflowRecord, WorkflowStatus},
    shape::WorkflowShape,
    store::Store,
};

use super::WorkflowError;

/// Which workflows are wanted. What is not said does not matter.
///
/// ```
/// use mcp_workflow_engine::{WorkflowFilter, WorkflowStatus};
/// let stuck = WorkflowFilter::default().status(WorkflowStatus::Failed).limit(10);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a filter does nothing by itself"]
pub struct WorkflowFilter {
    definition: Option<String>,
    statuses: Vec<WorkflowStatus>,
    state: Option<String>,
    created_before: Option<u64>,
    updated_before: Option<u64>,
    limit: Option<usize>,
}

impl WorkflowFilter {
    /// Of this definition.
    pub fn definition(mut self, definition: &str) -> Self {
        self.definition = Some(definition.to_owned());
        self
    }

    /// With this status; may be said again, for any of several.
    pub fn status(mut self, status: WorkflowStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// In this state.
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// Created before a time in Unix milliseconds.
    pub fn created_before(mut self, unix_ms: u64) -> Self {
        self.created_before = Some(unix_ms);
        self
    }

    /// Written last before a time in Unix milliseconds.
    pub fn updated_before(mut self, unix_ms: u64) -> Self {
        self.updated_before = Some(unix_ms);
        self
    }

    /// No more than these, the last updated ones (default all).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    fn matches(&self, record: &WorkflowRecord) -> bool {
        let same = |wanted: &Option<String>, found: &Name| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == found.as_str())
        };
        let before = |wanted: Option<u64>, found: u64| wanted.is_none_or(|wanted| found < wanted);
        same(&self.definition, &record.definition)
            && same(&self.state, &record.state)
            && (self.statuses.is_empty() || self.statuses.contains(&record.status))
            && before(self.created_before, record.created_at)
            && before(self.updated_before, record.updated_at)
    }
}

pub(super) async fn list(
    client: &Client,
    store: &Store,
    filter: &WorkflowFilter,
) -> Result<Vec<WorkflowRecord>, WorkflowError> {
    let mut found: Vec<WorkflowRecord> = Vec::new();
    let limit = filter.limit.unwrap_or(usize::MAX).max(1);
    for shard in 0..store.shards() {
        let bucket = client.namespace().workflows_bucket(shard);
        let take = |_key: &str, body: &[u8]| {
            // What cannot be read is no workflow of ours.
            let record = WorkflowRecord::decode(body).ok();
            found.extend(record.filter(|record| filter.matches(record)));
            // The newest come last: with a limit, the older half goes whenever there is twice too much.
            if found.len() >= limit.saturating_mul(2).max(1024) {
                newest(&mut found, limit);
            }
        };
        transport::scan(client, &bucket, ">", take).await?;
    }
    newest(&mut found, limit);
    Ok(found)
}

fn newest(found: &mut Vec<WorkflowRecord>, limit: usize) {
    found.sort_by_key(|record| std::cmp::Reverse(record.updated_at));
    found.truncate(limit);
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
