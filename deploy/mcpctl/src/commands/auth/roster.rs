//! Who there is, and what for: the file `auth.json`. It holds public keys only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use mcp_agent_sdk::runtime::Name;
use serde::{Deserialize, Serialize};

use super::{secrets, server};
use crate::failure::Failure;

/// The identity that makes streams and consumers.
pub(super) const ADMIN: &str = "admin";

/// Names that are no agent's.
const RESERVED: [&str; 2] = [ADMIN, "workflow"];

/// Everything in the folder that is not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roster {
    pub(super) version: u32,
    pub(super) tls: Tls,
    /// Names and addresses of the servers, for their certificate.
    pub(super) hosts: BTreeSet<String>,
    /// Where the servers find the folder `server`.
    pub(super) server_path: PathBuf,
    /// The public key of the system account's user.
    pub(super) system: Vec<String>,
    /// By namespace. Each is an account of its own, so that tenants never meet.
    pub(super) tenants: BTreeMap<String, Tenant>,
}

/// What the servers demand of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tls {
    /// Nothing: for one machine.
    Off,
    /// The server shows a certificate.
    Server,
    /// Both sides do.
    Mutual,
}

/// The identities of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) shards: u16,
    /// What its streams may take on the servers; no limit where there is none, as in rosters of before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage: Option<Storage>,
    pub(super) identities: BTreeMap<String, Identity>,
}

/// What the account of a namespace may store, in bytes, all copies counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) file: u64,
    pub(super) memory: u64,
}

/// One identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Public keys, the newest first.
    pub(super) keys: Vec<String>,
    /// What it is there for; `None` for the administrator, who may do everything in the namespace's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purpose: Option<Purpose>,
}

/// What an agent or a client is there for, of which its rights follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purpose {
    /// Whether it takes commands under its own name.
    pub(super) serves: bool,
    /// The agents that it may command.
    pub(super) commands: BTreeSet<String>,
    /// Its event subscriptions, by name: `SOURCE.EVENT`, where `*` stands for all.
    pub(super) subscriptions: BTreeMap<String, String>,
    /// The workflow definitions whose engine it is.
    pub(super) runs: BTreeSet<String>,
    /// The workflow definitions that it may start, signal and read.
    pub(super) drives: BTreeSet<String>,
    /// Whether it may use the store of large bodies, which all that may share.
    pub(super) payloads: bool,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What is for the servers.
    pub(super) fn server(&self) -> PathBuf {
        self.root.join("server")
    }

    /// What is for one process.
    pub(super) fn identity(&self, namespace: &str, name: &str) -> PathBuf {
        self.root.join("identities").join(namespace).join(name)
    }

    /// What is for whoever watches the servers themselves.
    pub(super) fn system(&self) -> PathBuf {
        self.root.join("system")
    }

    fn roster(&self) -> PathBuf {
        self.root.join("auth.json")
    }

    /// Reads the roster; `None` where there is none yet.
    pub(super) fn find(&self) -> Result<Option<Roster>, Failure> {
        let path = self.roster();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(path.display().to_string(), &error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Failure::usage(format!("{} cannot be read: {error}", path.display()))
                .remedy("was it made by another version? Take it back from your backup")
        })
    }

    /// Reads the roster, which has to be there, with the namespace.
    pub(super) fn load(&self, namespace: &str) -> Result<Roster, Failure> {
        let roster = self.find()?.ok_or_else(|| {
            Failure::usage(format!("there is no {}", self.roster().display()))
                .remedy("make it with `mcpctl auth init`, or name its folder with --dir")
        })?;
        match roster.tenants.contains_key(namespace) {
            true => Ok(roster),
            false => Err(Failure::usage(format!(
                "the namespace `{namespace}` is not in {}",
                self.roster().display()
            ))
            .remedy("add it with `mcpctl auth init --namespace NAME`")),
        }
    }

    /// Writes the roster, and what the servers are to make of it.
    pub(super) fn save(&self, roster: &Roster) -> Result<(), Failure> {
        server::write(roster, self)?;
        let text = serde_json::to_vec_pretty(roster).expect("a roster has text keys only");
        secrets::write(&self.roster(), &text)
    }
}

impl Roster {
    pub(super) fn tenant(&self, namespace: &str) -> &Tenant {
        &self.tenants[namespace]
    }

    pub(super) fn identities(&mut self, namespace: &str) -> &mut BTreeMap<String, Identity> {
        let tenant = self.tenants.get_mut(namespace);
        &mut tenant
            .expect("`load` has looked for the namespace")
            .identities
    }
}

impl Tenant {
    /// Those who may command an agent or drive a workflow that it runs: to them it answers.
    pub(super) fn callers<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a str> {
        let runs = self.purpose(agent).map(|purpose| &purpose.runs);
        let answers = move |purpose: &Purpose| {
            let drives = runs.is_some_and(|runs| !runs.is_disjoint(&purpose.drives));
            let own = runs.is_some_and(|runs| !runs.is_disjoint(&purpose.runs));
            purpose.commands.contains(agent) || drives || own
        };
        let identities = self.identities.iter();
        identities
            .filter(move |(_, identity)| identity.purpose.as_ref().is_none_or(&answers))
            .map(|(name, _)| name.as_str())
    }

    /// The definitions whose workflows may have started those that somebody runs: all that are run by who may drive one of them.
    pub(super) fn parents<'a>(&'a self, purpose: &'a Purpose) -> impl Iterator<Item = &'a str> {
        let engines = self.identities.values();
        let engines = engines.filter_map(|identity| identity.purpose.as_ref());
        engines
            .filter(|engine| !engine.drives.is_disjoint(&purpose.runs))
            .flat_map(|engine| &engine.runs)
            .map(String::as_str)
    }

    /// A consumer of events that two subscriptions would share, and who has the other one. Names may have `_evt_` in them, so that
    /// those of two agents can come to the same.
    pub(super) fn shared_consumer(&self) -> Option<(String, &str, &str)> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (name, identity) in &self.identities {
            let purpose = identity.purpose.iter();
            for subscription in purpose.flat_map(|purpose| purpose.subscriptions.keys()) {
                let consumer = consumer_of_events(name, subscription);
                if let Some(other) = seen.insert(consumer.clone(), name) {
                    return Some((consumer, other, name));
                }
            }
        }
        None
    }

    fn purpose(&self, name: &str) -> Option<&Purpose> {
        self.identities.get(name)?.purpose.as_ref()
    }
}

/// The consumer that a subscription pulls from.
pub(super) fn consumer_of_events(agent: &str, subscription: &str) -> String {
    format!("{agent}_evt_{subscription}")
}

/// A name that an identity may have.
pub(super) fn checked(name: &str) -> Result<(), Failure> {
    valid(name)?;
    match RESERVED.contains(&name) {
        true => Err(Failure::usage(format!("`{name}` is a reserved name"))),
        false => Ok(()),
    }
}

/// A name of the protocol: anything else could reach into other subjects.
pub(super) fn valid(name: &str) -> Result<(), Failure> {
    Name::new(name)
        .map(drop)
        .map_err(|error| Failure::usage(error.to_string()))
}
