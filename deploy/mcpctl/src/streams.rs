//! Which streams and buckets a namespace has, and what the server says about them.

use std::collections::{BTreeMap, HashMap};

use async_nats::jetstream::{
    Context, ErrorCode, consumer,
    response::Response,
    stream::{Config, Info, RetentionPolicy, StorageType, Stream},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use mcp_agent_sdk::{Client, Priority, runtime::Namespace};
use serde_json::json;

use crate::{
    failure::{Failure, MAJORITY, chain},
    output::{age, bytes},
};

/// Requests under way at once.
const CONCURRENCY: usize = 16;

/// Where the first tasks stream says how many workflow shards there are.
const SHARDS: &str = "mcp.workflow_shards";

/// The names of all streams of a namespace, buckets included.
pub(crate) fn names(namespace: &Namespace, shards: u16) -> Vec<String> {
    let ns = namespace.as_str();
    let mut names = vec![
        namespace.commands_stream(),
        namespace.events_stream(),
        namespace.dead_letters_stream(),
        format!("KV_{}", namespace.agents_bucket()),
        format!("KV_{}", namespace.outcomes_bucket()),
        format!("KV_{ns}_definitions"),
        format!("OBJ_{}", namespace.payloads_bucket()),
    ];
    for shard in 0..shards {
        names.push(format!("{ns}_tasks_{shard}"));
        names.push(format!("KV_{ns}_workflows_{shard}"));
        names.push(format!("KV_{ns}_checkpoints_{shard}"));
    }
    names
}

/// What the server says about one stream; `None` when it does not exist.
pub(crate) async fn info(jetstream: &Context, name: &str) -> Result<Option<Info>, Failure> {
    let unanswered = |reason: String| {
        Failure::unreachable(format!("no answer about stream `{name}`: {reason}")).remedy(MAJORITY)
    };
    match jetstream
        .request(format!("STREAM.INFO.{name}"), &json!({}))
        .await
    {
        Ok(Response::Ok(info)) => Ok(Some(info)),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Ok(None)
        }
        Ok(Response::Err { error }) => Err(unanswered(error.to_string())),
        Err(error) => Err(unanswered(error.to_string())),
    }
}

/// What the server says about each of the streams, in their order.
pub(crate) async fn infos(
    jetstream: &Context,
    names: &[String],
) -> Result<Vec<(String, Option<Info>)>, Failure> {
    stream::iter(names)
        .map(|name| async move { Ok((name.clone(), info(jetstream, name).await?)) })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

/// The consumers of a stream, by name.
pub(crate) async fn consumers(
    client: &Client,
    stream: &str,
) -> Result<Vec<consumer::Info>, Failure> {
    let stream = existing(client.jetstream(), stream).await?;
    let mut found: Vec<consumer::Info> =
        stream.consumers().try_collect().await.map_err(|error| {
            Failure::unreachable(format!("the consumers cannot be listed: {}", chain(&error)))
        })?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// How many workflow shards the namespace has, 1 when nothing says so.
pub(crate) async fn shards(client: &Client) -> Result<u16, Failure> {
    let first = format!("{}_tasks_0", client.namespace());
    let found = info(client.jetstream(), &first).await?;
    let shards = found.and_then(|info| info.config.metadata.get(SHARDS)?.parse().ok());
    Ok(shards.unwrap_or(1).clamp(1, 64))
}

/// A stream that has to be there.
pub(crate) async fn existing(jetstream: &Context, name: &str) -> Result<Stream, Failure> {
    match info(jetstream, name).await? {
        None => Err(missing(name)),
        Some(_) => jetstream.get_stream(name).await.map_err(|error| {
            Failure::unreachable(format!("stream `{name}` cannot be read: {}", chain(&error)))
        }),
    }
}

/// What to say of a stream that has to be there and is not.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::usage(format!("there is no stream `{name}`")).remedy("create it with `mcpctl setup`")
}

/// Messages per subject below `filter`, in the order of the subjects.
pub(crate) async fn subjects(
    stream: &Stream,
    filter: &str,
) -> Result<BTreeMap<String, usize>, Failure> {
    let failed = |reason: String| {
        Failure::unreachable(format!("the subjects of a stream cannot be read: {reason}"))
    };
    let found = stream
        .info_with_subjects(filter)
        .await
        .map_err(|error| failed(chain(&error)))?;
    let counts: HashMap<String, usize> = found
        .try_collect()
        .await
        .map_err(|error| failed(chain(&error)))?;
    Ok(counts.into_iter().collect())
}

/// The agent and the lane whose commands a consumer brings.
pub(crate) fn lane_of(consumer: &str) -> Option<(&str, Priority)> {
    let (agent, lane) = consumer.rsplit_once('_')?;
    Some((agent, lane.parse().ok()?))
}

/// What a stream is to its users.
pub(crate) fn label(stream: &str) -> String {
    match stream.split_once('_') {
        Some(("KV", bucket)) => format!("bucket {bucket}"),
        Some(("OBJ", store)) => format!("object store {store}"),
        _ => format!("stream {stream}"),
    }
}

/// The settings of a stream in a few words.
pub(crate) fn settings(config: &Config) -> String {
    let mut words = vec![match (config.retention, config.storage) {
        (RetentionPolicy::WorkQueue, _) => "work queue".to_owned(),
        (_, StorageType::Memory) => "memory".to_owned(),
        (_, StorageType::File) => "file".to_owned(),
    }];
    if !config.max_age.is_zero() {
        words.push(format!("kept {}", age(config.max_age)));
    }
    if config.max_messages_per_subject > 1 {
        words.push(format!("history {}", config.max_messages_per_subject));
    }
    if let Ok(limit @ 1..) = u64::try_from(config.max_bytes) {
        words.push(format!("at most {}", bytes(limit)));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_has_seven_streams_and_three_per_shard() {
        let namespace: Namespace = "studio".parse().unwrap();
        assert_eq!(names(&namespace, 1).len(), 10);
        let two = names(&namespace, 2);
        assert_eq!(two.len(), 13);
        assert!(two.contains(&"KV_studio_checkpoints_1".to_owned()));
    }

    #[test]
    fn consumers_of_lanes_are_told_from_others() {
        let normal = Some(("director_agent", Priority::Normal));
        assert_eq!(lane_of("director_agent_normal"), normal);
        assert_eq!(lane_of("director_agent_urgent"), None);
        assert_eq!(lane_of("backup"), None);
    }

    #[test]
    fn streams_are_called_what_they_are() {
        let check = |stream: &str, expected: &str| assert_eq!(label(stream), expected);
        check("KV_mcp_agents", "bucket mcp_agents");
        check("OBJ_mcp_payloads", "object store mcp_payloads");
        check("mcp_commands", "stream mcp_commands");
    }
}
