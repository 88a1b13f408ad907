//! `mcpctl auth init`: the folder, a namespace in it, and its administrator.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, value_parser};
use serde_json::json;

use super::{
    certificates::{Authority, CERTIFICATE, Holder},
    roster::{self, ADMIN, Folder, Identity, Roster, Tenant, Tls},
    secrets::{self, SEED},
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, hints, program},
};

/// Makes the folder, a namespace in it (`--namespace`), and the administrator of that namespace.
///
/// Each namespace becomes an account of its own: tenants on the same servers never see each other. What is there stays.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// A name or address of the servers, for their certificate; may be repeated (default: localhost and 127.0.0.1)
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// What the servers demand of a connection (default: mutual, or what is there)
    #[arg(long, value_enum)]
    tls: Option<Tls>,
    /// Where the servers find the folder `server`, such as /etc/nats/auth (default: where it is now)
    #[arg(long, value_name = "PATH")]
    server_path: Option<PathBuf>,
    /// Workflow shards of the namespace (default: 1, or what is there)
    #[arg(long, env = "MCP_WORKFLOW_SHARDS", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    shards: Option<u16>,
}

pub(super) fn run(args: &InitArgs, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let namespace = &global.namespace;
    roster::valid(namespace)?;
    secrets::make_folder(folder.root())?;
    let found = folder.find()?;
    let created = found.is_none();
    let mut roster = match found {
        Some(roster) => roster,
        None => begin(folder)?,
    };
    let before = (roster.tls, roster.hosts.clone());
    roster.tls = args.tls.unwrap_or(roster.tls);
    roster.hosts.extend(args.hosts.iter().cloned());
    if let Some(path) = &args.server_path {
        roster.server_path.clone_from(path);
    }
    let tenant = roster.tenants.entry(namespace.clone()).or_insert(Tenant {
        shards: 1,
        identities: Default::default(),
    });
    tenant.shards = args.shards.unwrap_or(tenant.shards);
    if !tenant.identities.contains_key(ADMIN) {
        let identity = make_identity(folder, namespace, ADMIN)?;
        tenant.identities.insert(ADMIN.to_owned(), identity);
    }
    certify(
        folder,
        &roster,
        created || before != (roster.tls, roster.hosts.clone()),
    )?;
    folder.save(&roster)?;
    tell(folder, &roster, namespace, global);
    Ok(())
}

fn begin(folder: &Folder) -> Result<Roster, Failure> {
    let server = folder.server();
    secrets::make_folder(&server)?;
    let server_path = std::fs::canonicalize(&server)
        .map_err(|error| Failure::io(server.display().to_string(), &error))?;
    let system = folder.system();
    secrets::make_folder(&system)?;
    secrets::write(&system.join("identity"), b"system\n")?;
    Ok(Roster {
        version: 1,
        tls: Tls::Mutual,
        hosts: BTreeSet::from(["localhost".to_owned(), "127.0.0.1".to_owned()]),
        server_path,
        system: vec![secrets::make_key(&system.join(SEED))?],
        tenants: Default::default(),
    })
}

/// A folder for one process, with a new key.
pub(super) fn make_identity(
    folder: &Folder,
    namespace: &str,
    name: &str,
) -> Result<Identity, Failure> {
    let place = folder.identity(namespace, name);
    secrets::make_folder(&place)?;
    secrets::write(&place.join("identity"), format!("{name}\n").as_bytes())?;
    Ok(Identity {
        keys: vec![secrets::make_key(&place.join(SEED))?],
        purpose: None,
    })
}

/// Sees to it that everybody has the certificates that are needed. The servers get a new one when their names have changed.
pub(super) fn certify(folder: &Folder, roster: &Roster, renew_server: bool) -> Result<(), Failure> {
    if roster.tls == Tls::Off {
        return Ok(());
    }
    let authority = Authority::open(folder.root())?;
    let server = folder.server().join("tls");
    if renew_server || !server.join(CERTIFICATE).exists() {
        let hosts: Vec<String> = roster.hosts.iter().cloned().collect();
        authority.issue(&server, &Holder::Server(&hosts))?;
    }
    let identities = roster.tenants.iter().flat_map(|(namespace, tenant)| {
        let names = tenant.identities.keys();
        names.map(move |name| (name.as_str(), folder.identity(namespace, name)))
    });
    for (name, place) in identities.chain([("system", folder.system())]) {
        match roster.tls {
            Tls::Mutual if !place.join(CERTIFICATE).exists() => {
                authority.issue(&place, &Holder::Client(name))?;
            }
            _ => authority.trust(&place)?,
        }
    }
    Ok(())
}

fn tell(folder: &Folder, roster: &Roster, namespace: &str, global: &Global) {
    let admin = folder.identity(namespace, ADMIN);
    if global.json {
        output::json(&json!({
            "folder": folder.root(), "namespace": namespace, "shards": roster.tenant(namespace).shards,
            "tls": roster.tls, "hosts": roster.hosts, "server": folder.server(), "administrator": admin,
        }));
        return;
    }
    output::line(format!(
        "{} is ready: {} for the servers, {} for the administrator of `{namespace}`",
        folder.root().display(),
        folder.server().display(),
        admin.display()
    ));
    let mcpctl = program();
    let dir = folder.root().display();
    hints(&[
        (
            format!("{mcpctl} auth --dir {dir} agent add NAME --commands OTHERS"),
            "an identity for each agent",
        ),
        (
            format!(
                "nats-server -c {}",
                folder.server().join("nats-server.conf").display()
            ),
            "a server with it",
        ),
        (
            format!(
                "MCP_AUTH={} {mcpctl} auth --dir {dir} apply",
                admin.display()
            ),
            "streams and consumers",
        ),
    ]);
}
