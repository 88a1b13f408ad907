//! Pure description: what every stream, bucket and object store of a namespace is like.
//!
//! Nothing here talks to a server. The table in PROTOCOL.md section 2 is the source of these settings.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Republish, RetentionPolicy, StorageType,
};

use super::{TopologyConfig, TopologyError};

/// Where the number of workflow shards is kept, in the metadata of each tasks stream.
pub(super) const SHARDS: &str = "mcp.workflow_shards";

/// Where the version of the topology is kept, in the metadata of each stream.
pub(super) const VERSION: &str = "mcp.topology";

/// Raised by changes that older programs cannot work with, and by no others: see [`refuse_newer`].
pub const TOPOLOGY_VERSION: u32 = 1;

/// How long an expired or purged presence stays as a marker: observers that were away that long read everything anew.
const MARKERS: Duration = Duration::from_secs(30);

/// Checkpoints kept of each name.
const CHECKPOINT_HISTORY: i64 = 8;

/// A stream as it has to be.
#[derive(Debug, Clone)]
pub(super) struct StreamSpec {
    pub(super) config: Config,
    /// Whether the number of replicas was asked for, or is only what a new stream gets.
    pub(super) replicas_matter: bool,
    /// Whether the size limit was asked for. Where it was not, an operator's own limit is accepted.
    pub(super) bytes_matter: bool,
    /// Whether direct gets are needed, or only something is safer with them.
    pub(super) direct_matters: bool,
}

/// The tasks stream of one workflow shard. The first of them decides how many shards there are.
pub(super) fn tasks(topology: &TopologyConfig, shard: u16, shards: u16) -> StreamSpec {
    let ns = &topology.namespace;
    let mut spec = work_queue(
        topology,
        &format!("tasks_{shard}"),
        "workflow tasks and timers",
    );
    spec.config.subjects = vec![
        format!("{ns}.timer.*.{shard}.>"),
        format!("{ns}.wf.*.{shard}.>"),
    ];
    let shards = (SHARDS.to_owned(), shards.to_string());
    spec.config.metadata.extend([shards]);
    spec
}

/// How many shards the metadata of a tasks stream says there are.
pub(super) fn shards(tasks: &Config) -> Option<u16> {
    tasks.metadata.get(SHARDS)?.parse().ok()
}

/// The version that the metadata of a stream says; 0 for what was made before versions were written down.
pub(super) fn version(stream: &Config) -> u32 {
    let version = stream.metadata.get(VERSION);
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An old program would misunderstand what a newer one has made.
pub(super) fn refuse_newer(object: &str, found: &Config) -> Result<(), TopologyError> {
    match version(found) {
        newer if newer > TOPOLOGY_VERSION => Err(TopologyError::Newer {
            object: object.to_owned(),
            found: newer,
        }),
        _ => Ok(()),
    }
}

/// Everything.
pub(super) fn all(topology: &TopologyConfig, shards: u16) -> Vec<StreamSpec> {
    let mut specs = all_but_tasks(topology, shards);
    specs.extend((0..shards).map(|shard| tasks(topology, shard, shards)));
    specs
}

/// Everything but the tasks streams.
pub(super) fn all_but_tasks(topology: &TopologyConfig, shards: u16) -> Vec<StreamSpec> {
    let mut specs = vec![
        commands(topology),
        events(topology),
        dead_letters(topology),
        agents(topology),
        outcomes(topology),
        bucket(topology, "definitions", "workflow definitions", None),
        payloads(topology),
    ];
    for shard in 0..shards {
        let bytes = topology.max_bytes.workflows;
        specs.push(bucket(
            topology,
            &format!("workflows_{shard}"),
            "workflow records",
            bytes,
        ));
        specs.push(checkpoints(topology, shard));
    }
    specs
}

fn commands(topology: &TopologyConfig) -> StreamSpec {
    let ns = &topology.namespace;
    let mut spec = work_queue(topology, "commands", "durable and delayed commands");
    spec.config.subjects = vec![format!("{ns}.cmd.>"), format!("{ns}.delay.>")];
    spec
}

fn events(topology: &TopologyConfig) -> StreamSpec {
    let mut spec = stream(topology, "events", "events", topology.max_bytes.events);
    spec.config.subjects = vec![format!("{}.evt.>", topology.namespace)];
    keep_for(&mut spec, topology.event_max_age, topology);
    spec
}

fn dead_letters(topology: &TopologyConfig) -> StreamSpec {
    let mut spec = stream(
        topology,
        "dead_letters",
        "dead letters",
        topology.max_bytes.dead_letters,
    );
    spec.config.subjects = vec![format!("{}.dead.>", topology.namespace)];
    // A full dead-letter stream must refuse: dropping the oldest would lose a message in silence.
    spec.config.discard = DiscardPolicy::New;
    // Agents look whether the letter that the server takes for theirs is theirs.
    spec.config.allow_direct = true;
    keep_for(&mut spec, topology.dead_max_age, topology);
    spec
}

fn agents(topology: &TopologyConfig) -> StreamSpec {
    let ns = &topology.namespace;
    let mut spec = bucket(topology, "agents", "presence of agent instances", None);
    spec.config.storage = StorageType::Memory;
    spec.config.allow_message_ttl = true;
    // Instances purge their record when they leave.
    spec.config.allow_rollup = true;
    spec.config.subject_delete_marker_ttl = Some(MARKERS);
    spec.config.republish = Some(Republish {
        source: format!("$KV.{ns}_agents.>"),
        destination: format!("{ns}.presence.>"),
        headers_only: false,
    });
    spec
}

fn outcomes(topology: &TopologyConfig) -> StreamSpec {
    let mut spec = bucket(
        topology,
        "outcomes",
        "outcomes by idempotency key",
        topology.max_bytes.outcomes,
    );
    // No markers: an expired reservation must leave nothing, so that a create succeeds at once.
    spec.config.allow_message_ttl = true;
    keep_for(&mut spec, topology.outcome_ttl, topology);
    spec
}

fn checkpoints(topology: &TopologyConfig, shard: u16) -> StreamSpec {
    let bytes = topology.max_bytes.checkpoints;
    let mut spec = bucket(
        topology,
        &format!("checkpoints_{shard}"),
        "workflow checkpoints",
        bytes,
    );
    spec.config.max_messages_per_subject = CHECKPOINT_HISTORY;
    // What is deleted goes with its history.
    spec.config.allow_rollup = true;
    spec
}

/// An object store, which is a stream of chunks and of descriptions.
fn payloads(topology: &TopologyConfig) -> StreamSpec {
    let name = format!("{}_payloads", topology.namespace);
    let mut spec = stream(
        topology,
        "payloads",
        "bodies too large for one message",
        topology.max_bytes.payloads,
    );
    spec.config.name = format!("OBJ_{name}");
    spec.config.subjects = vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")];
    spec.config.discard = DiscardPolicy::New;
    spec.config.allow_rollup = true;
    spec.config.allow_direct = true;
    spec.direct_matters = true;
    keep_for(&mut spec, topology.payload_ttl, topology);
    spec
}

/// A key-value bucket, made as the stream it is: the clients' own configuration has no TTL without markers. Any NATS
/// client opens it as a bucket, and deletes from it. Rollups only where they are needed: whoever may write one key could
/// empty the whole bucket with `Nats-Rollup: all`.
fn bucket(topology: &TopologyConfig, suffix: &str, holds: &str, bytes: Option<u64>) -> StreamSpec {
    let name = format!("{}_{suffix}", topology.namespace);
    let mut spec = stream(topology, suffix, holds, bytes);
    spec.config.name = format!("KV_{name}");
    spec.config.subjects = vec![format!("$KV.{name}.>")];
    spec.config.max_messages_per_subject = 1;
    spec.config.discard = DiscardPolicy::New;
    spec.config.deny_delete = true;
    spec.config.allow_direct = true;
    spec.direct_matters = true;
    spec
}

/// A work queue with schedules. The server refuses discard new beside them, and discard old would lose commands: hence
/// no limit at all, the account's storage bounds it.
fn work_queue(topology: &TopologyConfig, suffix: &str, holds: &str) -> StreamSpec {
    let mut spec = stream(topology, suffix, holds, None);
    spec.config.retention = RetentionPolicy::WorkQueue;
    spec.config.allow_message_schedules = true;
    // The server turns rollups on with schedules: a new schedule replaces the one before it.
    spec.config.allow_rollup = true;
    spec.bytes_matter = true;
    spec
}

fn stream(topology: &TopologyConfig, suffix: &str, holds: &str, bytes: Option<u64>) -> StreamSpec {
    let config = Config {
        name: format!("{}_{suffix}", topology.namespace),
        description: Some(format!("MCP: {holds}")),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_bytes: bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        num_replicas: usize::from(topology.replicas.unwrap_or(1)),
        duplicate_window: topology.duplicate_window,
        metadata: HashMap::from([(VERSION.to_owned(), TOPOLOGY_VERSION.to_string())]),
        ..Config::default()
    };
    StreamSpec {
        config,
        replicas_matter: topology.replicas.is_some(),
        bytes_matter: bytes.is_some(),
        direct_matters: false,
    }
}

/// The server refuses a deduplication window that is longer than messages are kept.
fn keep_for(spec: &mut StreamSpec, max_age: Duration, topology: &TopologyConfig) {
    spec.config.max_age = max_age;
    if !max_age.is_zero() {
        spec.config.duplicate_window = topology.duplicate_window.min(max_age);
    }
}
