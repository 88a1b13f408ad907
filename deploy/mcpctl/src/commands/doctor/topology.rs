//! Streams and buckets: there, as they should be, replicated, with room left.

use async_nats::jetstream::stream::{ClusterInfo, Info};
use mcp_agent_sdk::{
    Client,
    runtime::topology::{self, TopologyConfig, TopologyError},
};

use super::finding::Finding;
use crate::{failure::Failure, output::bytes, streams::label};

/// Fewer copies than this do not survive the loss of a node.
const SAFE_REPLICAS: usize = 3;

pub(super) fn missing(missing: &[&str], all: usize) -> Finding {
    let text = match missing.len() == all {
        true => "there are no streams in this namespace".to_owned(),
        false => {
            let names: Vec<String> = missing.iter().map(|name| label(name)).collect();
            format!("missing: {}", names.join(", "))
        }
    };
    Finding::fail("topology", text).remedy("create what is missing with `mcpctl setup`")
}

/// Compares with what the protocol needs. To be called only when nothing is missing: it would be created.
pub(super) async fn settings(client: &Client, wanted: TopologyConfig) -> Result<Finding, Failure> {
    match topology::ensure(client.jetstream(), &wanted).await {
        Ok(made) => {
            let text = format!(
                "all streams and buckets are as needed, {}",
                shards(made.shards)
            );
            Ok(match upgradable(client, &wanted).await? {
                None => Finding::ok("topology", text),
                Some(changes) => {
                    Finding::warn("topology", format!("{text}; to be improved: {changes}"))
                        .remedy("`mcpctl setup --upgrade` does, and loses nothing")
                }
            })
        }
        Err(TopologyError::Differs {
            object,
            differences,
            remedy,
            ..
        }) => {
            let rows: Vec<String> = differences.iter().map(ToString::to_string).collect();
            Ok(Finding::fail("topology", format!("{object}: {}", rows.join("; "))).remedy(remedy))
        }
        Err(error) => Err(error.into()),
    }
}

/// What works as it is, and an upgrade would still change: an older release made it.
async fn upgradable(client: &Client, wanted: &TopologyConfig) -> Result<Option<String>, Failure> {
    let plan = topology::plan_upgrade(client.jetstream(), wanted).await?;
    let rows: Vec<String> = plan
        .changes()
        .flat_map(|change| {
            let rows = change.differences.iter();
            rows.map(|row| format!("{}: {row}", change.object))
        })
        .collect();
    Ok(match rows.split_first() {
        None => None,
        Some((first, [])) => Some(first.clone()),
        Some((first, others)) => Some(format!("{first}, and {} more", others.len())),
    })
}

fn shards(count: u16) -> String {
    match count {
        1 => "1 workflow shard".to_owned(),
        count => format!("{count} workflow shards"),
    }
}

/// One finding for each group of streams in trouble, or one that all is well.
pub(super) fn replicas(client: &Client, infos: &[&Info]) -> Vec<Finding> {
    if client.nats().server_info().cluster.is_none() {
        return vec![Finding::ok(
            "replicas",
            "a single server: each stream has one copy",
        )];
    }
    let mut findings = Vec::new();
    let mut note =
        |streams: Vec<String>, make: fn(&str, String) -> Finding, text: &str, remedy: &str| {
            if !streams.is_empty() {
                findings.push(
                    make("replicas", format!("{text}: {}", streams.join(", "))).remedy(remedy),
                );
            }
        };
    let those = |wrong: &dyn Fn(&Info) -> bool| -> Vec<String> {
        infos
            .iter()
            .filter(|info| wrong(info))
            .map(|info| label(&info.config.name))
            .collect()
    };
    let behind = |cluster: &ClusterInfo| {
        cluster
            .replicas
            .iter()
            .any(|peer| peer.offline || !peer.current)
    };
    note(
        those(&|info| {
            info.cluster
                .as_ref()
                .is_some_and(|cluster| cluster.leader.is_none())
        }),
        |subject, text| Finding::fail(subject, text),
        "without a leader",
        "bring back the majority of the servers",
    );
    note(
        those(&|info| info.cluster.as_ref().is_some_and(behind)),
        |subject, text| Finding::warn(subject, text),
        "with a copy that is away or behind",
        "look after the server that is away",
    );
    note(
        those(&|info| info.config.num_replicas < SAFE_REPLICAS),
        |subject, text| Finding::warn(subject, text),
        "with fewer than 3 copies in a cluster",
        "raise it with `mcpctl setup --upgrade --replicas 3`",
    );
    if findings.is_empty() {
        findings.push(Finding::ok(
            "replicas",
            "each stream has its copies, and all are current",
        ));
    }
    findings
}

/// Streams with a size limit that is nearly reached.
pub(super) fn limits(infos: &[&Info]) -> Vec<Finding> {
    let limited = infos
        .iter()
        .filter_map(|info| Some((info, u64::try_from(info.config.max_bytes).ok()?)));
    limited
        .filter(|(_, limit)| *limit > 0)
        .map(|(info, limit)| {
            let used = info.state.bytes;
            let text = format!("{} of {} used", bytes(used), bytes(limit));
            Finding::of_usage(label(&info.config.name), text, used, limit).remedy(format!(
                "`nats stream edit {} --max-bytes SIZE` changes the limit",
                info.config.name
            ))
        })
        .collect()
}
