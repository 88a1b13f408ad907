//! `mcpctl setup`: creates the streams and buckets, or checks those that exist; `upgrade` changes them.

mod upgrade;

use clap::{Args, value_parser};
use mcp_agent_sdk::runtime::{Setup, topology};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, bytes},
    streams::{self, label, settings},
};

/// Creates the streams and buckets of a namespace, or checks those that exist.
///
/// What exists is never changed without --upgrade: other settings are an error that names each difference.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Copies of each stream in a cluster (default: accept what is there, 1 for what is new)
    #[arg(long, env = "MCP_REPLICAS", value_name = "N", value_parser = value_parser!(u8).range(1..=5))]
    replicas: Option<u8>,
    /// Workflow shards, fixed at creation (default: what is there, 1 when new)
    #[arg(long, env = "MCP_WORKFLOW_SHARDS", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
    /// Bring what exists up to this program (and to --replicas), after an update of the program: streams, buckets and
    /// consumers. Changes only what loses nothing; if anything else differs, it changes nothing and says what to do
    #[arg(long)]
    upgrade: bool,
    /// With --upgrade: only show what would be changed
    #[arg(long, requires = "upgrade")]
    dry_run: bool,
}

pub(crate) async fn run(args: SetupArgs, global: &Global) -> Result<(), Failure> {
    let mut wanted = global.topology()?;
    wanted.replicas = args.replicas;
    wanted.workflow_shards = args.shards;
    let client = global
        .connect_with(global.config("mcpctl")?.setup(Setup::Assume))
        .await?;
    let jetstream = client.jetstream();
    if args.upgrade {
        let deed = match args.dry_run {
            true => upgrade::Deed::Show,
            false => upgrade::Deed::CarryOut,
        };
        return upgrade::run(&client, &wanted, deed, global).await;
    }

    let asked_for = args.shards.unwrap_or(streams::shards(&client).await?);
    let before = streams::infos(jetstream, &streams::names(client.namespace(), asked_for)).await?;
    let made = topology::ensure(jetstream, &wanted).await?;
    let after = streams::infos(jetstream, &streams::names(client.namespace(), made.shards)).await?;

    let existed = |name: &str| {
        before
            .iter()
            .any(|(known, info)| known == name && info.is_some())
    };
    let mut table = Table::new(&["name", "", "replicas", "messages", "size", "settings"]);
    let mut documents = Vec::new();
    for (name, info) in after
        .iter()
        .filter_map(|(name, info)| Some((name, info.as_ref()?)))
    {
        let created = !existed(name);
        table.row([
            label(name).into(),
            if created {
                Cell::toned(Tone::Good, "created")
            } else {
                Cell::toned(Tone::Quiet, "was there")
            },
            info.config.num_replicas.to_string().into(),
            info.state.messages.to_string().into(),
            bytes(info.state.bytes).into(),
            settings(&info.config).into(),
        ]);
        documents.push(json!({
            "stream": name, "created": created, "replicas": info.config.num_replicas,
            "messages": info.state.messages, "bytes": info.state.bytes, "settings": settings(&info.config),
        }));
    }
    if global.json {
        output::json(
            &json!({ "namespace": global.namespace, "shards": made.shards, "streams": documents }),
        );
    } else {
        output::line(table.render());
    }
    Ok(())
}
