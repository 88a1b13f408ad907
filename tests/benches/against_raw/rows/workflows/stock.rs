//! A stock of stored starts, put there as PROTOCOL.md section 8 says, faster than one by one.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use mcp_agent_sdk::{Client, runtime::transport::new_message_id};
use serde::Serialize;

use crate::{Failed, raw};

use super::engine::{Definition, Job, STATES};

/// What of a start task is needed.
#[derive(Serialize)]
struct Start {
    v: u8,
    kind: &'static str,
    id: String,
    task: &'static str,
    workflow_id: String,
    definition: &'static str,
    created_at: u64,
    data: Job,
}

/// Workflows stored in this process; each has its own number.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Enough that most of them run while all places are taken.
pub(super) fn smallest(parallel: usize) -> u64 {
    (parallel as u64 * 6).max(50)
}

/// So many workflows as at this rate of transitions last for the window.
pub(super) fn lasting(window: Duration, transitions: f64, parallel: usize) -> u64 {
    let workflows = transitions * window.as_secs_f64() / STATES as f64;
    (workflows as u64).max(smallest(parallel))
}

/// The id of the workflow stored last.
pub(super) fn last_id() -> String {
    id(NEXT.load(Ordering::Relaxed).saturating_sub(1))
}

/// The shard of a workflow, as every peer computes it.
pub(super) fn shard(id: &str, shards: u16) -> u16 {
    u16::try_from(crc32fast::hash(id.as_bytes()) % u32::from(shards)).unwrap_or_default()
}

/// Stores so many starts, pipelined.
pub(super) async fn store(
    client: &Client,
    shards: u16,
    definition: Definition,
    workflows: u64,
) -> Result<(), Failed> {
    let namespace = client.namespace().as_str();
    let mut left = workflows;
    let next = || {
        left = left.checked_sub(1)?;
        let id = id(NEXT.fetch_add(1, Ordering::Relaxed));
        let subject = format!(
            "{namespace}.wf.{}.{}.start.{id}",
            definition.name(),
            shard(&id, shards)
        );
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{id}.start"));
        headers.insert("Content-Type", "application/msgpack");
        Some((subject, headers, start(id, definition)))
    };
    raw::publish(client.jetstream(), next).await.map(drop)
}

fn start(workflow_id: String, definition: Definition) -> Bytes {
    let start = Start {
        v: 1,
        kind: "task",
        id: new_message_id(),
        task: "start",
        workflow_id,
        definition: definition.name(),
        created_at: 0,
        data: Job::new(),
    };
    rmp_serde::to_vec_named(&start).unwrap_or_default().into()
}

fn id(number: u64) -> String {
    format!("w{number}")
}
