//! What all drives of an engine share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mcp_runtime::{
    Client, Name, Worker,
    transport::{self, StoreError},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{core::Shapes, definition::Definition, store::Store};

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
            client,
        }
    }

    pub(super) fn families(&self) -> impl Iterator<Item = (&Name, &Arc<Family>)> {
        self.families.iter()
    }

    /// Whether this engine itself has a definition.
    pub(super) fn has(&self, definition: &Name) -> bool {
        self.families.contains_key(definition)
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
        let instances = transport::instances(&self.client).await?;
        let mut definitions = instances.iter().flat_map(|instance| &instance.definitions);
        Ok(definitions.any(|known| {
            let versions = known["versions"].as_array().into_iter().flatten();
            known["name"] == definition.as_str()
                && versions.into_iter().any(|known| known == version)
        }))
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
