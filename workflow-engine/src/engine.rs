//! The engine: takes tasks from the streams and does what the core says.
//!
//! Per definition and shard two durable consumers, one of starts and one of everything else, shared by all engines. The
//! task that drives a workflow stays unacknowledged meanwhile: it is the lease.

mod drive;
mod effects;
mod home;
mod relations;
mod revive;
mod running;
mod settle;
mod trace;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use mcp_runtime::{
    Client, Name, ReceiveError, Worker,
    topology::{self, TopologyError},
    transport::{Consumption, StoreError},
};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    definition::{Definition, DefinitionError, Workflow},
    store::Store,
};

use home::Home;

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A definition cannot be run.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Two definitions have the same name and version.
    #[error("the workflow definition `{name}` has version {version} twice")]
    Twice {
        /// The definition.
        name: String,
        /// The version.
        version: String,
    },
    /// The streams or consumers cannot be used.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The tasks cannot be pulled.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A definition cannot be kept where tools find it.
    #[error("a workflow definition cannot be stored: {0}")]
    Store(#[from] StoreError),
}

/// The definitions of an agent, checked and bound to the state that its handlers share.
#[derive(Default)]
pub struct Definitions {
    families: BTreeMap<Name, Vec<Arc<Definition>>>,
}

impl Definitions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a definition. Of several versions the one added last is what new workflows begin with.
    ///
    /// # Errors
    /// When the definition is not valid, or there already.
    pub fn add<S: Send + Sync + 'static>(
        &mut self,
        workflow: Workflow<S>,
        agent: &Arc<S>,
    ) -> Result<(), EngineError> {
        let definition = workflow.build(agent)?;
        let family = self
            .families
            .entry(definition.shape.name.clone())
            .or_default();
        let version = &definition.shape.version;
        if family.iter().any(|other| other.shape.version == *version) {
            return Err(EngineError::Twice {
                name: definition.shape.name.to_string(),
                version: version.clone(),
            });
        }
        family.push(Arc::new(definition));
        Ok(())
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// What a presence record says about them: name and versions of each.
    #[must_use]
    pub fn summary(&self) -> Vec<serde_json::Value> {
        let of = |(name, family): (&Name, &Vec<Arc<Definition>>)| {
            let versions = family.iter().map(|definition| &definition.shape.version);
            json!({ "name": name, "versions": versions.collect::<Vec<_>>() })
        };
        self.families.iter().map(of).collect()
    }

    /// Stores the definitions where tools and whoever starts workflows find them; engines have their own. To be done before
    /// anybody hears that the agent is there: a command may start a workflow at once.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub async fn publish(&self, client: &Client) -> Result<(), EngineError> {
        let bucket =
            mcp_runtime::transport::Bucket::new(client, &client.namespace().definitions_bucket());
        for definition in self.families.values().flatten() {
            let shape = &definition.shape;
            let body = serde_json::to_vec(&**shape).unwrap_or_default();
            let key = format!("{}.{}", shape.name, shape.version);
            let known = bucket.read(&key).await?;
            if let Some(known) = known.filter(|known| !known.value.is_empty()) {
                if known.value == body {
                    continue;
                }
                tracing::warn!(
                    definition = %shape.name,
                    version = shape.version,
                    "the definition has changed without a new version; running workflows may notice"
                );
            }
            let message_id = format!("{key}.{:08x}", crc32fast::hash(&body));
            bucket.put(&key, &message_id, body.into()).await?;
        }
        Ok(())
    }
}

/// Tasks other than starts that are held at once for each definition and shard. Far more than states run: most of them are
/// done in a moment, and those must not queue behind the others.
const CONTROL: usize = 2_048;

/// How an engine works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// States of one definition that run at once, at least 1 (default 256).
    pub concurrency: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { concurrency: 256 }
    }
}

/// A running engine; dropping it stops it at once, and its tasks go to others.
pub struct Engine {
    home: Arc<Home>,
    pulling: Vec<Consumption>,
    _abandon: DropGuard,
}

impl Engine {
    /// Begins to run workflows on behalf of a worker.
    ///
    /// # Errors
    /// When the consumers cannot be created or differ.
    pub async fn start(
        worker: &Worker,
        definitions: Definitions,
        config: EngineConfig,
    ) -> Result<Self, EngineError> {
        let client = worker.client();
        let (jetstream, namespace) = (client.jetstream(), client.namespace().as_str());
        let shards = topology::workflow_shards(jetstream, namespace).await?;
        let replicated = topology::is_replicated(jetstream, namespace).await?;
        let store = Store::new(client, shards).replicated(replicated);
        for name in definitions.families.keys() {
            for shard in 0..shards {
                if client.may_create() {
                    topology::ensure_workflow(jetstream, namespace, name.as_str(), shard).await?;
                }
            }
        }
        let abandon = CancellationToken::new();
        // From here on: what has begun ends with a start that fails.
        let guard = abandon.clone().drop_guard();
        let places = config.concurrency.max(1) as usize;
        let families = definitions.families;
        let home = Home::new(worker, store, families, abandon.clone(), places);
        let home = Arc::new(home);
        tokio::spawn(revive::parked(Arc::clone(&home)));
        let mut pulling = Vec::new();
        for (name, family) in home.families() {
            for shard in 0..shards {
                for (kind, concurrency) in [("start", places), ("control", CONTROL)] {
                    let stream = client.namespace().tasks_stream(shard);
                    let consumer = format!("{name}_{kind}");
                    let (home, family) = (Arc::clone(&home), Arc::clone(family));
                    let handle = move |delivered| {
                        let (home, family) = (Arc::clone(&home), Arc::clone(&family));
                        async move { drive::handle(&home, &family, delivered).await }
                    };
                    let pull = Consumption::start(worker, &stream, &consumer, concurrency, handle);
                    pulling.push(pull.await?);
                }
            }
        }
        Ok(Self {
            home,
            pulling,
            _abandon: guard,
        })
    }

    /// Asks for nothing more, lets the states that run come to their end within `grace`, and gives their workflows to other
    /// engines. Returns whether they did.
    pub async fn drain(self, grace: Duration) -> bool {
        self.home.draining.cancel();
        let drained = self.pulling.into_iter().map(|pulling| pulling.drain(grace));
        let done = join_all(drained).await.into_iter().all(|done| done);
        if !done {
            tracing::warn!(
                "the grace is over, the states that still run are left to other engines"
            );
        }
        done
    }
}
