//! What all drives of an engine share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mcp_runtime::{
    Client, Name, Worker,
    transport::{self, StoreError},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{core::Shapes, definition::Definition, hosted::Hosted, store::Store};

/// The versions of one definition.
pub(super) struct Family {
    pub(super) shapes: Shapes,
    /// In which states run. Tasks beyond it are taken all the same: a stop must not wait for a state of another workflow.
    pub(super) places: Arc<Semaphore>,
    versions: Vec<Arc<Definition>>,
}

/// An engine's belongings.
pub(super) struct Home {
    pub(super) client: Client,
    /// The same connection under the name `workflow`, by which the events of workflows go.
    pub(super) herald: Client,
    pub(super) instance: Arc<str>,
    pub(super) store: Store,
    /// No further state is begun.
    pub(super) draining: CancellationToken,
    /// The engine is gone.
    pub(super) abandon: CancellationToken,
    families: BTreeMap<Name, Arc<Family>>,
    /// Definitions of others that somebody has brought: they are asked for once.
    known: Mutex<BTreeSet<Name>>,
}

impl Home {
    pub(super) fn new(
        worker: &Worker,
        store: Store,
        families: BTreeMap<Name, Vec<Arc<Definition>>>,
        abandon: CancellationToken,
        places: usize,
    ) -> Self {
        let client = worker.client().clone();
        let families = families.into_iter().map(|(name, versions)| {
            let shapes = versions.iter().map(|version| Arc::clone(&version.shape));
            let shapes = shapes.collect();
            let family = Family {
                shapes,
                places: Arc::new(Semaphore::new(places)),
                versions,
            };
            (name, Arc::new(family))
        });
        Self {
            herald: client.named(herald()),
            instance: worker.instance().as_str().into(),
            store,
            draining: CancellationToken::new(),
            abandon,
            families: families.collect(),
            known: Mutex::default(),
            client,
        }
    }

    pub(super) fn families(&self) -> impl Iterator<Item = (&Name, &Arc<Family>)> {
        self.families.iter()
    }

    /// Whether an engine has ever brought a definition.
    pub(super) async fn knows(&self, definition: &Name) -> Result<bool, StoreError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.families.contains_key(definition) || known().contains(definition) {
            return Ok(true);
        }
        let brought = self.store.knows(definition).await?;
        if brought {
            known().insert(definition.clone());
        }
        Ok(brought)
    }

    pub(super) fn now_ms(&self) -> u64 {
        transport::server_now_ms(&self.client)
    }

    /// Whether an engine is alive that has this version.
    pub(super) async fn is_elsewhere(
        &self,
        definition: &Name,
        version: &str,
    ) -> Result<bool, StoreError> {
        let hosted = Hosted::now(&self.client).await?;
        Ok(hosted.has(definition.as_str(), version))
    }
}

impl Family {
    pub(super) fn versions(&self) -> impl Iterator<Item = &str> {
        let versions = self.versions.iter();
        versions.map(|definition| definition.shape.version.as_str())
    }

    pub(super) fn version(&self, version: &str) -> Option<&Arc<Definition>> {
        self.versions
            .iter()
            .find(|definition| definition.shape.version == version)
    }
}

/// The name of engines towards others; no agent may have it.
pub(crate) fn herald() -> Name {
    Name::new("workflow").expect("`workflow` is a name")
}

/// The pause before something that the server did not answer is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
