//! `mcpctl auth agent`: adds, changes and removes identities.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    init,
    roster::{self, Folder, Purpose, Roster},
    server,
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, hints, program},
};

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// Adds an identity, or changes what it is there for; a key that is there stays
    Add(AddArgs),
    /// Takes an identity out: after a reload the servers refuse its keys
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// An identity, and what it is there for: its rights follow from that, and it gets no others.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The agent's name, or what a client calls itself
    #[arg(value_name = "NAME")]
    name: String,
    /// The agents that it may command
    #[arg(long, value_name = "AGENTS", value_delimiter = ',')]
    commands: Vec<String>,
    /// Takes no commands itself: a client
    #[arg(long)]
    client: bool,
    /// A subscription to events: NAME=SOURCE.EVENT, where * stands for all; may be repeated
    #[arg(long = "subscribe", value_name = "NAME=SOURCE.EVENT", value_parser = subscription)]
    subscriptions: Vec<(String, String)>,
    /// The workflow definitions that it runs
    #[arg(long, value_name = "DEFINITIONS", value_delimiter = ',')]
    runs: Vec<String>,
    /// The workflow definitions that it may start, signal and read
    #[arg(long, value_name = "DEFINITIONS", value_delimiter = ',')]
    drives: Vec<String>,
    /// May send and receive bodies over 256 KiB: all who may share one store, and can read all of it
    #[arg(long)]
    payloads: bool,
}

fn subscription(text: &str) -> Result<(String, String), String> {
    let form =
        || format!("`{text}` is not of the form NAME=SOURCE.EVENT, such as news=*.video_made");
    let (name, events) = text.split_once('=').ok_or_else(form)?;
    let (source, event) = events.split_once('.').ok_or_else(form)?;
    for token in [name, source, event] {
        if token != "*" || name == "*" {
            mcp_agent_sdk::runtime::Name::new(token).map_err(|error| error.to_string())?;
        }
    }
    Ok((name.to_owned(), events.to_owned()))
}

pub(super) fn run(command: AgentCommand, folder: &Folder, global: &Global) -> Result<(), Failure> {
    match command {
        AgentCommand::Add(args) => add(args, folder, global),
        AgentCommand::Remove { name } => remove(&name, folder, global),
    }
}

fn add(args: AddArgs, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let namespace = &global.namespace;
    roster::checked(&args.name)?;
    for name in args.commands.iter().chain(&args.runs).chain(&args.drives) {
        roster::valid(name)?;
    }
    if args.client && !args.runs.is_empty() {
        return Err(Failure::usage(
            "a client runs no workflows: their engine is an agent, which others can see",
        )
        .remedy("leave --client out; or use --drives, if it only starts, signals and reads them"));
    }
    let mut roster = folder.load(namespace)?;
    let purpose = Purpose {
        serves: !args.client,
        commands: args.commands.into_iter().collect::<BTreeSet<_>>(),
        subscriptions: args.subscriptions.into_iter().collect::<BTreeMap<_, _>>(),
        runs: args.runs.into_iter().collect(),
        drives: args.drives.into_iter().collect(),
        payloads: args.payloads,
    };
    let identities = roster.identities(namespace);
    let found = identities.get(&args.name).map(|found| found.keys.clone());
    let known = found.is_some();
    let identity = roster::Identity {
        keys: found.unwrap_or_default(),
        purpose: Some(purpose),
    };
    identities.insert(args.name.clone(), identity);
    refuse_shared_consumer(&roster, namespace)?;
    if !known {
        let made = init::make_identity(folder, namespace, &args.name)?;
        let identities = roster.identities(namespace);
        identities
            .entry(args.name.clone())
            .and_modify(|identity| identity.keys = made.keys);
    }
    init::certify(folder, &roster, false)?;
    folder.save(&roster)?;
    tell(folder, &roster, &args.name, global);
    Ok(())
}

/// Each would take the other's events.
fn refuse_shared_consumer(roster: &Roster, namespace: &str) -> Result<(), Failure> {
    match roster.tenant(namespace).shared_consumer() {
        None => Ok(()),
        Some((consumer, one, other)) => Err(Failure::usage(format!(
            "subscriptions of `{one}` and `{other}` would share the consumer `{consumer}`, and each would miss events"
        ))
        .remedy("give the subscription another name: --subscribe NAME=SOURCE.EVENT")),
    }
}

fn remove(name: &str, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let namespace = &global.namespace;
    roster::checked(name)?;
    let mut roster = folder.load(namespace)?;
    if roster.identities(namespace).remove(name).is_none() {
        return Err(Failure::usage(format!(
            "there is no identity `{name}` in the namespace `{namespace}`"
        )));
    }
    folder.save(&roster)?;
    let place = folder.identity(namespace, name);
    if place.exists() {
        std::fs::remove_dir_all(&place)
            .map_err(|error| Failure::io(place.display().to_string(), &error))?;
    }
    match global.json {
        true => output::json(&json!({ "removed": name, "namespace": namespace })),
        false => output::line(format!(
            "`{name}` is out; the servers refuse it after `nats-server --signal reload`"
        )),
    }
    Ok(())
}

fn tell(folder: &Folder, roster: &Roster, name: &str, global: &Global) {
    let namespace = &global.namespace;
    let place = folder.identity(namespace, name);
    let tenant = roster.tenant(namespace);
    let identity = &tenant.identities[name];
    let purpose = identity.purpose.as_ref();
    let unknown: Vec<&String> = purpose
        .into_iter()
        .flat_map(|purpose| &purpose.commands)
        .filter(|target| !tenant.identities.contains_key(*target))
        .collect();
    if global.json {
        output::json(&json!({
            "name": name, "namespace": namespace, "account": server::account(namespace), "folder": place,
            "keys": identity.keys, "purpose": purpose, "not_yet_added": unknown,
        }));
        return;
    }
    output::line(format!(
        "`{name}` is in; its process gets {}",
        place.display()
    ));
    for target in unknown {
        output::note(format!("`{target}` has no identity yet: add it as well"));
    }
    hints(&[
        (
            "nats-server --signal reload".to_owned(),
            "tells the servers",
        ),
        (
            format!("{} auth --dir {} apply", program(), folder.root().display()),
            "makes its consumers, as the administrator",
        ),
        (
            format!("MCP_AUTH={} ./{name}", place.display()),
            "starts it",
        ),
    ]);
}
