//! Which versions of which definitions have an engine that is alive.

use std::collections::BTreeSet;

use mcp_runtime::{
    Client,
    transport::{self, StoreError},
};

/// What engines say that they bring, as it was when they were asked.
#[derive(Debug, Clone, Default)]
pub struct Hosted(BTreeSet<(String, String)>);

impl Hosted {
    /// Looks at who is there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn now(client: &Client) -> Result<Self, StoreError> {
        let instances = transport::instances(client).await?;
        let definitions = instances.iter().flat_map(|instance| &instance.definitions);
        let of = |definition: &serde_json::Value| {
            let name = definition["name"].as_str().unwrap_or_default().to_owned();
            let versions = definition["versions"].as_array().into_iter().flatten();
            let versions = versions.filter_map(|version| Some(version.as_str()?.to_owned()));
            versions
                .map(|version| (name.clone(), version))
                .collect::<Vec<_>>()
        };
        Ok(Self(definitions.flat_map(of).collect()))
    }

    /// Whether an engine brings this version of a definition.
    #[must_use]
    pub fn has(&self, definition: &str, version: &str) -> bool {
        let key = (definition.to_owned(), version.to_owned());
        self.0.contains(&key)
    }

    /// Whether an engine brings any version of a definition.
    #[must_use]
    pub fn has_any(&self, definition: &str) -> bool {
        self.0.iter().any(|(known, _)| known == definition)
    }
}
