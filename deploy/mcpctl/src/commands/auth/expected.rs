//! What the servers should have by the folder: for `mcpctl doctor`, which looks whether they do.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mcp_agent_sdk::{Priority, runtime::Namespace};

use super::{
    rights,
    roster::{Folder, Purpose, consumer_of_events},
};
use crate::failure::Failure;

/// One identity, and what it should find.
pub(crate) struct Expected {
    pub(crate) name: String,
    /// The folder with its files, which need not be here.
    pub(crate) folder: PathBuf,
    /// What it may publish and hear; `None` for the administrator, who may do everything.
    pub(crate) rights: Option<(BTreeSet<String>, BTreeSet<String>)>,
    /// Its consumers, each with its stream.
    pub(crate) consumers: Vec<(String, String)>,
}

/// All identities of a namespace.
pub(crate) fn expected(dir: &Path, namespace: &Namespace) -> Result<Vec<Expected>, Failure> {
    let folder = Folder::at(dir.to_owned());
    let ns = namespace.as_str();
    let roster = folder.load(ns)?;
    let tenant = roster.tenant(ns);
    let identities = tenant.identities.iter();
    let of = |(name, identity): (&String, &super::roster::Identity)| {
        let purpose = identity.purpose.as_ref();
        let rights = purpose.map(|purpose| {
            let rights = rights::of(ns, tenant, name, purpose);
            (rights.publish, rights.subscribe)
        });
        Expected {
            name: name.clone(),
            folder: folder.identity(ns, name),
            rights,
            consumers: purpose.map_or_else(Vec::new, |purpose| {
                consumers(namespace, tenant.shards, name, purpose)
            }),
        }
    };
    Ok(identities.map(of).collect())
}

fn consumers(
    namespace: &Namespace,
    shards: u16,
    name: &str,
    purpose: &Purpose,
) -> Vec<(String, String)> {
    let mut consumers = Vec::new();
    if purpose.serves {
        let commands = namespace.commands_stream();
        let lanes = Priority::ALL.iter();
        consumers.extend(lanes.map(|lane| (commands.clone(), format!("{name}_{lane}"))));
    }
    for subscription in purpose.subscriptions.keys() {
        let consumer = consumer_of_events(name, subscription);
        consumers.push((namespace.events_stream(), consumer));
    }
    for definition in &purpose.runs {
        for shard in 0..shards {
            let tasks = namespace.tasks_stream(shard);
            let kinds = ["start", "control"];
            consumers.extend(kinds.map(|kind| (tasks.clone(), format!("{definition}_{kind}"))));
        }
    }
    consumers
}
