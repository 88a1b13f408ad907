//! `mcpctl auth init`: the folder, a namespace in it, and its administrator.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, value_parser};
use serde_json::json;

use super::{
    certificates::{Authority, CERTIFICATE, Holder},
    roster::{self, ADMIN, Folder, Identity, Roster, Storage, Tenant, Tls},
    secrets::{self, SEED},
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, bytes, hints, program},
};

/// What a new namespace may store: enough to begin with, and too little to fill a disk unnoticed. A server that stands alone sets the
/// room aside, and does not start without it: so it has to be found on a laptop too.
const STORAGE: Storage = Storage {
    file: 2 << 30,
    memory: 128 << 20,
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
    /// What the namespace may store on disk, all copies counted (default: 2GiB, or what is there)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_file: Option<u64>,
    /// What the namespace may store in memory, where presence is (default: 128MiB, or what is there)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory: Option<u64>,
}

/// Bytes: a number, or one with KiB, MiB, GiB or TiB.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size, such as 512MiB, 20GiB or 1TiB");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let power = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << power).filter(|bytes| *bytes > 0);
    // The server counts with signs.
    bytes
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(wrong)
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
        storage: Some(STORAGE),
        identities: Default::default(),
    });
    tenant.shards = args.shards.unwrap_or(tenant.shards);
    if args.max_file.is_some() || args.max_memory.is_some() {
        let before = tenant.storage.unwrap_or(STORAGE);
        tenant.storage = Some(Storage {
            file: args.max_file.unwrap_or(before.file),
            memory: args.max_memory.unwrap_or(before.memory),
        });
    }
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
    let tenant = roster.tenant(namespace);
    if global.json {
        output::json(&json!({
            "folder": folder.root(), "namespace": namespace, "shards": tenant.shards, "storage": tenant.storage,
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
    output::line(match tenant.storage {
        Some(Storage { file, memory }) => format!(
            "it may store {} on disk and {} in memory, all copies counted; --max-file and --max-memory change that",
            bytes(file),
            bytes(memory)
        ),
        None => {
            "it may store what the servers have; --max-file and --max-memory limit that".to_owned()
        }
    });
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_or_refused() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(size(text).ok(), expected, "{text}");
        };
        check("4096", Some(4096));
        check("512MiB", Some(512 << 20));
        check("10GiB", Some(10 << 30));
        for wrong in [
            "",
            "GiB",
            "0",
            "-1",
            "1.5GiB",
            "10GB",
            "99999999TiB",
            "10 GiB",
        ] {
            check(wrong, None);
        }
    }
}
