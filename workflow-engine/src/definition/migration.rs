//! Taking running workflows over from an earlier version of a definition.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use mcp_runtime::{McpError, Name, Raw, code};
use serde::{Serialize, de::DeserializeOwned};

use crate::core::{Former, Migrated};

use super::Definition;

/// What a migration function does to a workflow, without its types.
pub(crate) type Migrate = Arc<dyn Fn(&Former) -> Result<Migrated, McpError> + Send + Sync>;

/// The migration functions of a definition, by the version that they lead from.
pub(crate) type Migrations = HashMap<String, Migrate>;

/// A workflow on its way to another version: as it is, unless the migration function says otherwise.
///
/// ```
/// use mcp_workflow_engine::{Workflow, WorkflowState};
/// #[derive(serde::Serialize)]
/// struct Order { cents: u64 }
///
/// let order: Workflow = Workflow::new("order")
///     .version("2")
///     .state("pay", WorkflowState::wait_for("paid").then("sent"))
///     .state("sent", WorkflowState::end())
///     // Version 1 had whole coins, and called the state `charge`.
///     .migrate_from("1", |workflow, coins: u64| {
///         let workflow = workflow.with(&Order { cents: coins * 100 });
///         Ok(match workflow.state() {
///             "charge" => workflow.to("pay"),
///             _ => workflow,
///         })
///     });
/// assert!(order.check().is_ok());
/// ```
#[derive(Debug, Clone)]
#[must_use = "a migration function returns it"]
pub struct WorkflowMigration {
    id: String,
    state: String,
    data: Result<Raw, String>,
}

impl WorkflowMigration {
    /// The workflow's id.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        &self.id
    }

    /// The state that it is in, or will be.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The state of the new version that takes the place of the old one; it is entered anew.
    pub fn to(mut self, state: &str) -> Self {
        state.clone_into(&mut self.state);
        self
    }

    /// The data in the shape of the new version.
    pub fn with<D: Serialize + ?Sized>(mut self, data: &D) -> Self {
        self.data = Raw::encode(data).map_err(|error| error.to_string());
        self
    }

    fn migrated(self) -> Result<Migrated, McpError> {
        let refuse = |reason: String| McpError::permanent(code::INTERNAL).message(reason);
        let state = Name::new(&self.state).map_err(|error| refuse(error.to_string()))?;
        let data = self
            .data
            .map_err(|reason| refuse(format!("the migrated data cannot be encoded: {reason}")))?;
        Ok(Migrated { state, data })
    }
}

impl Definition {
    /// Runs the author's function for a workflow of an earlier version; a panic in it is a refusal.
    pub(crate) fn migrate(&self, former: &Former) -> Result<Migrated, McpError> {
        let migrate = self.migrations.get(&former.version).ok_or_else(|| {
            McpError::permanent(code::INTERNAL).message("there is no such migration")
        })?;
        let migrated = catch_unwind(AssertUnwindSafe(|| migrate(former)));
        migrated.unwrap_or_else(|_| {
            let version = &self.shape.version;
            Err(McpError::permanent(code::HANDLER_PANICKED)
                .message(format!("the migration to version {version} panicked")))
        })
    }
}

/// The function with its types put aside.
pub(super) fn untyped<D, F>(migrate: F) -> Migrate
where
    D: DeserializeOwned,
    F: Fn(WorkflowMigration, D) -> Result<WorkflowMigration, McpError> + Send + Sync + 'static,
{
    Arc::new(move |former| {
        let data = former.data.decode::<D>().map_err(|error| {
            McpError::permanent(code::INVALID_PARAMETERS)
                .message(format!(
                    "the data of version {} cannot be read: {error}",
                    former.version
                ))
                .detail("field", error.field().unwrap_or_default())
        })?;
        let workflow = WorkflowMigration {
            id: former.id.to_string(),
            state: former.state.to_string(),
            data: Ok(former.data.clone()),
        };
        migrate(workflow, data)?.migrated()
    })
}
