//! `mcpctl restore`: brings a namespace back from a folder that `mcpctl backup` has made.

use std::path::PathBuf;

use async_nats::jetstream::Context;
use clap::{Args, value_parser};
use mcp_agent_sdk::{
    Client,
    runtime::{Setup, topology},
};
use serde_json::json;

use crate::{
    archive::{
        manifest::{Entry, Manifest},
        order, pause, snapshot,
    },
    cli::Global,
    failure::{Failure, chain},
    output::{self, Table, bytes, hints, program},
    presence,
    streams::{self, label},
};

/// Brings a namespace back from a backup. Everything in it is checked before anything is done.
///
/// The namespace must hold no messages, and no agent may run in it. What was queued is delivered again, timers that came due
/// meanwhile fire at once, and workflows go on from where they were.
#[derive(Debug, Args)]
#[command(after_help = "\
What was done after the backup is not known to it: commands that were queued at that time run again, with their keys and \
outcomes as they were then.

Try: mcpctl restore nightly-2026-11-25")]
pub(crate) struct RestoreArgs {
    /// The folder of the backup
    folder: PathBuf,
    /// Copies of each stream (default: as saved; 1 on a server without a cluster)
    #[arg(long, env = "MCP_REPLICAS", value_name = "N", value_parser = value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Delete what the namespace holds now, and do not mind running agents
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: RestoreArgs, global: &Global) -> Result<(), Failure> {
    let manifest = Manifest::read(&args.folder)?;
    refuse_another_namespace(&manifest, global)?;
    manifest.verify(&args.folder)?;
    let client = global
        .connect_with(global.config("mcpctl")?.setup(Setup::Assume))
        .await?;
    let standing = standing(&client, &manifest).await?;
    if !args.force {
        refuse_to_overwrite(&standing)?;
        refuse_running_agents(&client).await?;
    }

    let restored = replace(&client, &manifest, &standing, &args, global).await;
    restored.map_err(|failure| {
        failure.remedy("the namespace is half restored: mend the cause, and repeat with --force")
    })?;
    announce(&manifest, global);
    Ok(())
}

/// From here on the namespace is not what it was.
async fn replace(
    client: &Client,
    manifest: &Manifest,
    standing: &[(String, u64)],
    args: &RestoreArgs,
    global: &Global,
) -> Result<(), Failure> {
    let jetstream = client.jetstream();
    // The presence of agents is made anew as well: with other settings it would be in the way.
    let presence = format!("KV_{}", client.namespace().agents_bucket());
    if streams::info(jetstream, &presence).await?.is_some() {
        delete(jetstream, &presence).await?;
    }
    for (name, _) in standing {
        delete(jetstream, name).await?;
    }
    let single = client.nats().server_info().cluster.is_none();
    let replicas = args.replicas.or(single.then_some(1));
    for entry in manifest.streams.iter().rev() {
        snapshot::bring_back(client.nats(), jetstream, entry, replicas, &args.folder).await?;
        if order::is_queue(client.namespace(), &entry.stream) {
            pause::resume(jetstream, &entry.stream, entry.consumers()).await?;
        }
    }
    // What is not saved is made anew, with as many copies as the rest.
    let copies = manifest.streams.iter().map(Entry::replicas).max();
    let mut wanted = global.topology()?;
    wanted.replicas = replicas.or(copies);
    topology::ensure(jetstream, &wanted).await?;
    Ok(())
}

async fn delete(jetstream: &Context, stream: &str) -> Result<(), Failure> {
    let deleted = jetstream.delete_stream(stream).await;
    deleted.map(drop).map_err(|error| {
        Failure::answered(format!(
            "stream `{stream}` cannot be deleted: {}",
            chain(&error)
        ))
    })
}

/// Subjects are part of what is saved.
fn refuse_another_namespace(manifest: &Manifest, global: &Global) -> Result<(), Failure> {
    if manifest.namespace == global.namespace {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the backup is of the namespace `{}`, and cannot become `{}`",
        manifest.namespace, global.namespace
    ))
    .remedy(format!(
        "restore it with `--namespace {}`",
        manifest.namespace
    )))
}

/// The streams that stand where something is to be restored, each with its messages.
async fn standing(client: &Client, manifest: &Manifest) -> Result<Vec<(String, u64)>, Failure> {
    let shards = streams::shards(client).await?.max(manifest.shards);
    let saved = |name: &str| manifest.streams.iter().any(|entry| entry.stream == name);
    let events = saved(&client.namespace().events_stream());
    let names = order::of_backup(client.namespace(), shards, events);
    let infos = streams::infos(client.jetstream(), &names).await?;
    let there = infos.into_iter();
    Ok(there
        .filter_map(|(name, info)| Some((name, info?.state.messages)))
        .collect())
}

fn refuse_to_overwrite(standing: &[(String, u64)]) -> Result<(), Failure> {
    let held: Vec<String> = standing
        .iter()
        .filter(|(_, messages)| *messages > 0)
        .map(|(name, messages)| format!("{} ({messages})", label(name)))
        .collect();
    if held.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the namespace holds messages, which would be lost: {}",
        held.join(", ")
    ))
    .remedy("save them with `mcpctl backup` first, then repeat with --force"))
}

async fn refuse_running_agents(client: &Client) -> Result<(), Failure> {
    let bucket = format!("KV_{}", client.namespace().agents_bucket());
    if streams::info(client.jetstream(), &bucket).await?.is_none() {
        return Ok(());
    }
    let running = presence::records(client).await?;
    let mut agents: Vec<&str> = running.iter().map(|record| record.agent.as_str()).collect();
    agents.dedup();
    match agents.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "agents are running, which would begin with half of it: {}",
            agents.join(", ")
        ))
        .remedy("stop them first, or repeat with --force")),
    }
}

fn announce(manifest: &Manifest, global: &Global) {
    let messages: u64 = manifest.streams.iter().map(|entry| entry.messages).sum();
    if global.json {
        let names: Vec<&str> = manifest
            .streams
            .iter()
            .map(|entry| entry.stream.as_str())
            .collect();
        return output::json(&json!({
            "namespace": manifest.namespace, "created_at": manifest.created_at, "messages": messages,
            "streams": names,
        }));
    }
    let mut table = Table::new(&["name", "messages", "size"]);
    for entry in &manifest.streams {
        table.row([
            label(&entry.stream).into(),
            entry.messages.to_string().into(),
            bytes(entry.bytes).into(),
        ]);
    }
    output::line(table.render());
    output::line(format!(
        "{messages} messages of {} are back; agents can be started",
        manifest.created_at
    ));
    // What was not saved was made anew, without the consumers of those who may make none.
    if global.has_identity() {
        let apply = format!("{} auth apply", program());
        hints(&[(
            apply,
            "now: makes the consumers of the identities that are missing",
        )]);
    }
}
