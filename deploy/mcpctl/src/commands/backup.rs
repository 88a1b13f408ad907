//! `mcpctl backup`: saves everything durable of a namespace into a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mcp_agent_sdk::{Client, runtime::Setup, runtime::topology::TOPOLOGY_VERSION};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    archive::{
        manifest::{self, Entry, Manifest},
        order,
        pause::Pause,
        snapshot,
    },
    cli::Global,
    failure::Failure,
    output::{self, Table, bytes},
    streams::{self, label},
};

/// Saves everything durable of a namespace into a folder: workflows, checkpoints, definitions, outcomes, dead letters, large
/// bodies, and the commands, workflow tasks, timers and events that are stored at the moment.
///
/// Deliveries pause meanwhile, so that the parts fit together; publishing goes on. What is still being worked on after
/// --wait is saved as unacknowledged, and is delivered again after a restore. Only the presence of agents is left out.
#[derive(Debug, Args)]
#[command(after_help = "\
The folder gets a snapshot of the server's for each stream and manifest.json with their SHA-256. Bodies of messages \
stand in it: keep it as safe as the server's disk.

Try: mcpctl backup nightly-2026-11-25
     mcpctl restore nightly-2026-11-25      # later, on an empty server")]
pub(crate) struct BackupArgs {
    /// The folder; it must not exist, or be empty
    folder: PathBuf,
    /// How long to wait for what is being worked on, once deliveries pause
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Do not pause deliveries: for a namespace whose agents are stopped. While they run, a workflow may be saved without
    /// the task that it waits for
    #[arg(long, conflicts_with = "wait")]
    live: bool,
    /// Leave the events out, which are often the most bytes
    #[arg(long)]
    no_events: bool,
}

pub(crate) async fn run(args: BackupArgs, global: &Global) -> Result<(), Failure> {
    prepare(&args.folder)?;
    let client = global
        .connect_with(global.config("mcpctl")?.setup(Setup::Assume))
        .await?;
    let jetstream = client.jetstream();
    let shards = streams::shards(&client).await?;
    let names = order::of_backup(client.namespace(), shards, !args.no_events);
    streams::existing(jetstream, &names[0]).await?;
    let queues: Vec<String> = names
        .iter()
        .filter(|name| !args.live && order::is_queue(client.namespace(), name))
        .cloned()
        .collect();

    let pause = Pause::begin(jetstream, &queues).await?;
    let taken = take(&client, &pause, &names, &args).await;
    let resumed = pause.end(jetstream).await;
    let (in_hand, entries) = taken?;
    resumed?;

    let manifest = Manifest {
        format: manifest::FORMAT.to_owned(),
        version: manifest::VERSION,
        created_at: OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default(),
        namespace: global.namespace.clone(),
        mcpctl: env!("CARGO_PKG_VERSION").to_owned(),
        server: client.nats().server_info().version.clone(),
        topology: TOPOLOGY_VERSION,
        shards,
        paused: !args.live,
        in_hand,
        streams: entries,
    };
    manifest.write(&args.folder)?;
    announce(&manifest, &args.folder, global);
    Ok(())
}

async fn take(
    client: &Client,
    pause: &Pause,
    names: &[String],
    args: &BackupArgs,
) -> Result<(u64, Vec<Entry>), Failure> {
    let jetstream = client.jetstream();
    let in_hand = pause.settle(jetstream, args.wait).await?;
    let mut entries = Vec::new();
    for name in names {
        entries.push(snapshot::save(client.nats(), jetstream, name, &args.folder).await?);
    }
    Ok((in_hand, entries))
}

/// A folder of our own, which nobody else can read.
fn prepare(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let cannot =
        |error: &io::Error| Failure::io(format!("cannot make {}", folder.display()), error);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| cannot(&error))?;
    let mut files = fs::read_dir(folder).map_err(|error| cannot(&error))?;
    match files.next() {
        None => Ok(()),
        Some(_) => Err(Failure::usage(format!("{} is not empty", folder.display()))
            .remedy("name a new folder: a backup never overwrites another one")),
    }
}

fn announce(manifest: &Manifest, folder: &Path, global: &Global) {
    let total: u64 = manifest.streams.iter().map(|entry| entry.bytes).sum();
    if global.json {
        let streams: Vec<_> = manifest.streams.iter().map(described).collect();
        return output::json(&json!({
            "folder": folder, "namespace": manifest.namespace, "bytes": total, "paused": manifest.paused,
            "in_hand": manifest.in_hand, "streams": streams,
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
    output::line(format!("{} in {}", bytes(total), folder.display()));
    match manifest.in_hand {
        0 => {}
        1 => output::note(
            "1 message was still being worked on; after a restore it is delivered again",
        ),
        more => output::note(format!(
            "{more} messages were still being worked on; after a restore they are delivered again"
        )),
    }
}

fn described(entry: &Entry) -> serde_json::Value {
    json!({ "stream": entry.stream, "messages": entry.messages, "bytes": entry.bytes, "sha256": entry.sha256 })
}
