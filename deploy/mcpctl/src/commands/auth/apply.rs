//! `mcpctl auth apply`: what the identities need on the servers, made by the administrator, because they may make nothing.

use async_nats::jetstream::Context;
use clap::{Args, value_parser};
use mcp_agent_sdk::runtime::{
    Setup,
    topology::{self, EventConsumer, Start},
};
use serde_json::json;

use super::roster::{Folder, Purpose};
use crate::{cli::Global, failure::Failure, output};

/// Creates the streams, buckets and consumers that the identities of a namespace need. What exists is only checked.
///
/// Connects as the administrator: with the identity of the folder, unless MCP_AUTH or another setting says which.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// Copies of each stream in a cluster (default: accept what is there, 1 for what is new)
    #[arg(long, env = "MCP_REPLICAS", value_name = "N", value_parser = value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
}

pub(super) async fn run(args: &ApplyArgs, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let namespace = &global.namespace;
    let roster = folder.load(namespace)?;
    let tenant = roster.tenant(namespace);
    let mut config = global.config("mcpctl")?.setup(Setup::Assume);
    if !global.has_identity() {
        config = config.auth(folder.identity(namespace, super::roster::ADMIN));
    }
    let client = global.connect_with(config).await?;
    let mut wanted = global.topology()?;
    wanted.replicas = args.replicas;
    wanted.workflow_shards = Some(tenant.shards);
    topology::ensure(client.jetstream(), &wanted).await?;
    let mut consumers = 0;
    for (name, identity) in &tenant.identities {
        let Some(purpose) = &identity.purpose else {
            continue;
        };
        let place = Place {
            jetstream: client.jetstream(),
            namespace,
            name,
        };
        consumers += place.make(purpose, tenant.shards).await?;
    }
    match global.json {
        true => output::json(&json!({
            "namespace": namespace, "shards": tenant.shards, "identities": tenant.identities.len(), "consumers": consumers,
        })),
        false => output::line(format!(
            "streams and buckets of `{namespace}` are there, with {consumers} consumers of {} identities",
            tenant.identities.len()
        )),
    }
    Ok(())
}

struct Place<'a> {
    jetstream: &'a Context,
    namespace: &'a str,
    name: &'a str,
}

impl Place<'_> {
    /// Makes the consumers of one identity; returns how many it has.
    async fn make(&self, purpose: &Purpose, shards: u16) -> Result<usize, Failure> {
        let mut made = 0;
        if purpose.serves {
            topology::ensure_agent(self.jetstream, self.namespace, self.name).await?;
            made += 4;
        }
        for (subscription, events) in &purpose.subscriptions {
            let wanted = EventConsumer {
                agent: self.name,
                subscription,
                subjects: &[format!("{}.evt.{events}", self.namespace)],
                start: Start::New,
            };
            topology::ensure_event_consumer(self.jetstream, self.namespace, wanted).await?;
            made += 1;
        }
        for definition in &purpose.runs {
            for shard in 0..shards {
                topology::ensure_workflow(self.jetstream, self.namespace, definition, shard)
                    .await?;
                made += 2;
            }
        }
        Ok(made)
    }
}
