//! What nats-servers read: accounts with their users, and TLS. Both are to be included by a configuration of one's own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    rights,
    roster::{Folder, Identity, Roster, Storage, Tenant, Tls},
    secrets,
};
use crate::failure::Failure;

/// The account of those who watch the servers themselves.
const SYSTEM: &str = "SYS";

/// Writes `accounts.conf`, `tls.conf`, `cluster-tls.conf` and `nats-server.conf` into the folder `server`.
pub(super) fn write(roster: &Roster, folder: &Folder) -> Result<(), Failure> {
    let server = folder.server();
    secrets::make_folder(&server)?;
    let file = |name: &str, text: String| secrets::write(&server.join(name), text.as_bytes());
    file("accounts.conf", accounts(roster))?;
    file("tls.conf", tls(roster))?;
    file("cluster-tls.conf", cluster_tls(roster))?;
    // It is a beginning, and may have been changed.
    match server.join("nats-server.conf").exists() {
        true => Ok(()),
        false => file("nats-server.conf", example()),
    }
}

fn accounts(roster: &Roster) -> String {
    let mut accounts = BTreeMap::new();
    for (namespace, tenant) in &roster.tenants {
        let users: Vec<Value> = tenant
            .identities
            .iter()
            .flat_map(|(name, identity)| users(namespace, tenant, name, identity))
            .collect();
        accounts.insert(
            account(namespace),
            json!({ "jetstream": jetstream(tenant), "users": users }),
        );
    }
    let users = roster.system.iter().map(|key| json!({ "nkey": key }));
    accounts.insert(
        SYSTEM.to_owned(),
        json!({ "users": users.collect::<Vec<_>>() }),
    );
    let accounts = serde_json::to_string_pretty(&accounts).expect("accounts have text keys");
    format!(
        "# Made by `mcpctl auth`, which overwrites it: who may connect, and what each may do. Reload the servers after a change.\n\
         accounts: {accounts}\nsystem_account: {SYSTEM}\n"
    )
}

/// A namespace that stores too much is refused more, and leaves the disk to the others.
fn jetstream(tenant: &Tenant) -> Value {
    match tenant.storage {
        Some(Storage { file, memory }) => json!({ "max_file": file, "max_mem": memory }),
        None => json!("enabled"),
    }
}

/// The account of a namespace.
pub(super) fn account(namespace: &str) -> String {
    // Not one of the servers' own names, whatever the namespace is called.
    format!("ns_{namespace}")
}

/// One user for each key that is valid.
fn users(namespace: &str, tenant: &Tenant, name: &str, identity: &Identity) -> Vec<Value> {
    let permissions = identity.purpose.as_ref().map(|purpose| {
        let rights = rights::of(namespace, tenant, name, purpose);
        json!({ "publish": { "allow": rights.publish }, "subscribe": { "allow": rights.subscribe } })
    });
    let user = |key: &String| match &permissions {
        Some(permissions) => json!({ "nkey": key, "permissions": permissions }),
        None => json!({ "nkey": key }),
    };
    identity.keys.iter().map(user).collect()
}

fn files(roster: &Roster) -> String {
    let path = |file: &str| {
        let path = roster.server_path.join("tls").join(file);
        Value::String(path.display().to_string())
    };
    format!(
        "  cert_file: {}\n  key_file: {}\n  ca_file: {}\n",
        path("tls.crt"),
        path("tls.key"),
        path("ca.crt")
    )
}

fn tls(roster: &Roster) -> String {
    let verify = match roster.tls {
        Tls::Off => return "# No TLS between clients and servers.\n".to_owned(),
        Tls::Server => "",
        Tls::Mutual => "  # Both sides show a certificate.\n  verify: true\n",
    };
    format!("tls {{\n{}{verify}}}\n", files(roster))
}

/// Servers always know each other by their certificates.
fn cluster_tls(roster: &Roster) -> String {
    match roster.tls {
        Tls::Off => "# No TLS between servers.\n".to_owned(),
        _ => format!("tls {{\n{}  verify: true\n}}\n", files(roster)),
    }
}

fn example() -> String {
    "\
# A beginning: change it as you like, `mcpctl auth` leaves it alone. One server needs nothing else.
listen: \"0.0.0.0:4222\"
http: \"127.0.0.1:8222\"
jetstream { store_dir: \"/data\" }
include \"accounts.conf\"
include \"tls.conf\"

# In a cluster, with a server_name of its own for each server:
# server_name: \"nats-1\"
# cluster {
#   name: \"mcp\"
#   listen: \"0.0.0.0:6222\"
#   routes: [\"nats://nats-1:6222\", \"nats://nats-2:6222\", \"nats://nats-3:6222\"]
#   include \"cluster-tls.conf\"
# }
"
    .to_owned()
}
