//! Messages that a work queue keeps although they are done: a server that is killed between an acknowledgement and the
//! removal of its message may keep it for good. Nobody is ever given it again; it only takes space.
//!
//! What a consumer has acknowledged without a gap is done, and each message of a work queue belongs to one consumer,
//! whose filter never changes: so it can be told from what still waits.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::Info,
    stream::{RawMessageErrorKind, Stream},
};
use mcp_agent_sdk::Client;

use super::{finding::Finding, workflows::Repair};
use crate::{
    failure::{Failure, chain},
    streams,
};

/// Leftovers of one consumer that one run sees to; a run after that sees to more.
const MOST: usize = 1_000;

/// What was acknowledged just now may be on its way out.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// One finding for each consumer that has left something, or one that all is well.
pub(super) async fn check(
    client: &Client,
    shards: u16,
    repair: Repair,
) -> Result<Vec<Finding>, Failure> {
    let namespace = client.namespace();
    let tasks = (0..shards).map(|shard| namespace.tasks_stream(shard));
    let mut findings = Vec::new();
    for queue in std::iter::once(namespace.commands_stream()).chain(tasks) {
        let stream = streams::existing(client.jetstream(), &queue).await?;
        for info in streams::consumers(client, &queue).await? {
            let left = left(&stream, &info).await?;
            if !left.is_empty() {
                findings.push(finding(&stream, &info.name, &left, repair).await?);
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("queues", "they hold nothing that is done"));
    }
    Ok(findings)
}

async fn finding(
    stream: &Stream,
    consumer: &str,
    left: &[u64],
    repair: Repair,
) -> Result<Finding, Failure> {
    let subject = format!("queue of {consumer}");
    let more = if left.len() < MOST { "" } else { "at least " };
    let text = format!("{more}{} messages are done and were kept", left.len());
    if repair == Repair::Show {
        return Ok(Finding::warn(subject, text).remedy("`mcpctl doctor --repair` removes them"));
    }
    for sequence in left {
        // One that has gone meanwhile is as well.
        let _ = stream.delete_message(*sequence).await;
    }
    let still = still_there(stream, left).await?.len();
    Ok(match still {
        0 => Finding::ok(subject, format!("{text}; removed")),
        _ => Finding::warn(subject, format!("{text}; {still} could not be removed")),
    })
}

/// The sequences of what a consumer is done with.
async fn left(stream: &Stream, info: &Info) -> Result<Vec<u64>, Failure> {
    let mut left = Vec::new();
    let config = &info.config;
    let filters = config.filter_subjects.iter();
    for filter in filters
        .chain([&config.filter_subject])
        .filter(|filter| !filter.is_empty())
    {
        let mut from = 1;
        while let Some(sequence) = next(stream, filter, from).await? {
            if sequence > info.ack_floor.stream_sequence || left.len() == MOST {
                break;
            }
            left.push(sequence);
            from = sequence + 1;
        }
    }
    if left.is_empty() {
        return Ok(left);
    }
    tokio::time::sleep(ON_ITS_WAY).await;
    still_there(stream, &left).await
}

async fn next(stream: &Stream, filter: &str, from: u64) -> Result<Option<u64>, Failure> {
    match stream.get_first_raw_message_by_subject(filter, from).await {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Failure::unreachable(chain(&error))),
    }
}

async fn still_there(stream: &Stream, sequences: &[u64]) -> Result<Vec<u64>, Failure> {
    let mut there = Vec::new();
    for sequence in sequences {
        match stream.get_raw_message(*sequence).await {
            Ok(_) => there.push(*sequence),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(Failure::unreachable(chain(&error))),
        }
    }
    Ok(there)
}
