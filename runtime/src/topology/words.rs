//! Settings in an operator's words. Two settings that mean the same read the same.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, Republish, RetentionPolicy, StorageType,
};

use super::spec::SHARDS;

/// The value of the shards' metadata, as it stands there.
pub(super) fn shards(config: &Config) -> String {
    config
        .metadata
        .get(SHARDS)
        .map_or_else(|| "not in the metadata".to_owned(), Clone::clone)
}

pub(super) fn filters(config: &consumer::Config) -> Vec<String> {
    let single = Some(&config.filter_subject).filter(|subject| !subject.is_empty());
    config
        .filter_subjects
        .iter()
        .chain(single)
        .cloned()
        .collect()
}

pub(super) fn names(subjects: &[String]) -> String {
    let sorted: BTreeSet<String> = subjects
        .iter()
        .map(|subject| format!("`{subject}`"))
        .collect();
    if sorted.is_empty() {
        "none".to_owned()
    } else {
        Vec::from_iter(sorted).join(" ")
    }
}

pub(super) fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(super) fn age(age: Duration) -> String {
    if age.is_zero() {
        "unlimited".to_owned()
    } else {
        duration(age)
    }
}

/// The server writes "no limit" as -1 and accepts 0 for it.
pub(super) fn limit(limit: i64) -> String {
    if limit <= 0 {
        "unlimited".to_owned()
    } else {
        limit.to_string()
    }
}

pub(super) fn on(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

pub(super) fn markers(config: &Config) -> String {
    config
        .subject_delete_marker_ttl
        .filter(|ttl| !ttl.is_zero())
        .map_or_else(|| "off".to_owned(), duration)
}

pub(super) fn republish(republish: Option<&Republish>) -> String {
    let Some(republish) = republish else {
        return "off".to_owned();
    };
    let what = if republish.headers_only {
        " (headers only)"
    } else {
        ""
    };
    format!(
        "`{}` to `{}`{what}",
        republish.source, republish.destination
    )
}

pub(super) fn retention(policy: RetentionPolicy) -> &'static str {
    match policy {
        RetentionPolicy::Limits => "limits",
        RetentionPolicy::Interest => "interest",
        RetentionPolicy::WorkQueue => "work queue",
    }
}

pub(super) fn storage(storage: StorageType) -> &'static str {
    match storage {
        StorageType::File => "file",
        StorageType::Memory => "memory",
    }
}

pub(super) fn discard(policy: DiscardPolicy) -> &'static str {
    match policy {
        DiscardPolicy::Old => "old",
        DiscardPolicy::New => "new",
    }
}

/// Asynchronous persistence loses acknowledged messages when the server is killed.
pub(super) fn persistence(config: &Config) -> &'static str {
    match config.persist_mode {
        Some(PersistenceMode::Async) => "asynchronous",
        _ => "synchronous",
    }
}

pub(super) fn kind(config: &consumer::Config) -> &'static str {
    if config.deliver_subject.is_some() {
        "push"
    } else {
        "pull"
    }
}

pub(super) fn ack(policy: AckPolicy) -> String {
    format!("{policy:?}").to_lowercase()
}

pub(super) fn replay(policy: ReplayPolicy) -> &'static str {
    match policy {
        ReplayPolicy::Instant => "instant",
        ReplayPolicy::Original => "original",
    }
}

/// A time says only where a new consumer began; "an hour ago" is another time at every start, and no difference.
pub(super) fn start(policy: DeliverPolicy) -> &'static str {
    match policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::New => "new",
        DeliverPolicy::ByStartTime { .. } => "since a time",
        DeliverPolicy::ByStartSequence { .. } => "from a sequence",
        DeliverPolicy::Last | DeliverPolicy::LastPerSubject => "last",
    }
}
