//! `mcpctl auth show`: who there is, or exactly what one identity may do.

use clap::Args;
use serde_json::{Value, json};

use super::{
    rights,
    roster::{Folder, Identity, Purpose, Tenant},
    server,
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Table, Tone, paint},
};

/// Shows who there is in the namespace, or exactly what one identity may publish and hear.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// One identity
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &ShowArgs, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let roster = folder.load(&global.namespace)?;
    let tenant = roster.tenant(&global.namespace);
    match &args.name {
        Some(name) => one(name, tenant, global),
        None => {
            all(tenant, global);
            Ok(())
        }
    }
}

fn all(tenant: &Tenant, global: &Global) {
    if global.json {
        let identities = tenant.identities.iter().map(|(name, identity)| {
            json!({ "name": name, "keys": identity.keys, "purpose": identity.purpose })
        });
        output::json(&json!({
            "namespace": global.namespace, "account": server::account(&global.namespace),
            "shards": tenant.shards, "identities": identities.collect::<Vec<_>>(),
        }));
        return;
    }
    let mut table = Table::new(&[
        "identity",
        "is",
        "commands",
        "subscribes",
        "workflows",
        "keys",
    ]);
    for (name, identity) in &tenant.identities {
        let purpose = identity.purpose.as_ref();
        let list = |of: fn(&Purpose) -> Vec<&str>| purpose.map(of).unwrap_or_default().join(", ");
        table.row([
            name.as_str().into(),
            kind(identity).into(),
            list(|purpose| purpose.commands.iter().map(String::as_str).collect()).into(),
            list(|purpose| purpose.subscriptions.keys().map(String::as_str).collect()).into(),
            list(|purpose| {
                purpose
                    .runs
                    .union(&purpose.drives)
                    .map(String::as_str)
                    .collect()
            })
            .into(),
            identity.keys.len().to_string().into(),
        ]);
    }
    output::line(table.render());
}

fn kind(identity: &Identity) -> &'static str {
    match &identity.purpose {
        None => "administrator",
        Some(purpose) if purpose.serves => "agent",
        Some(_) => "client",
    }
}

fn one(name: &str, tenant: &Tenant, global: &Global) -> Result<(), Failure> {
    let Some(identity) = tenant.identities.get(name) else {
        return Err(Failure::usage(format!(
            "there is no identity `{name}` in the namespace `{}`",
            global.namespace
        ))
        .remedy("`mcpctl auth show` lists them"));
    };
    let rights = identity
        .purpose
        .as_ref()
        .map(|purpose| rights::of(&global.namespace, tenant, name, purpose));
    if global.json {
        let rights = rights.map_or(
            Value::Null,
            |rights| json!({ "publish": rights.publish, "subscribe": rights.subscribe }),
        );
        output::json(&json!({
            "name": name, "namespace": global.namespace, "keys": identity.keys, "purpose": identity.purpose,
            "rights": rights,
        }));
        return Ok(());
    }
    output::line(format!(
        "{name}, {}, keys {}",
        kind(identity),
        identity.keys.join(", ")
    ));
    let Some(rights) = rights else {
        output::line("may do everything in the account of its namespace");
        return Ok(());
    };
    for (verb, subjects) in [("publish", rights.publish), ("subscribe", rights.subscribe)] {
        output::line(paint(Tone::Strong, &format!("may {verb} to")));
        for subject in subjects {
            output::line(format!("  {subject}"));
        }
    }
    Ok(())
}
