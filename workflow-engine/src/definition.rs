//! Definitions: states, what runs in them, and where they may lead to.

mod check;
mod migration;
mod state;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use mcp_runtime::{McpError, Name};
use serde::de::DeserializeOwned;

use crate::{
    run::Steps,
    shape::{WorkflowEvents, WorkflowShape},
};

pub use check::DefinitionError;
pub(crate) use migration::Migrations;
pub use migration::WorkflowMigration;
pub use state::WorkflowState;

/// A workflow definition, written down like its diagram.
///
/// `S` is the state that the agent's handlers share; most have none.
///
/// ```
/// use mcp_workflow_engine::{
///     Workflow, WorkflowContext, WorkflowState, WorkflowTransitionResult as Then,
/// };
/// use mcp_runtime::McpError;
///
/// async fn draft(_: WorkflowContext, topic: String) -> Result<Then, McpError> {
///     Ok(Then::to("review").with(&format!("all about {topic}")))
/// }
///
/// let article: Workflow = Workflow::new("article")
///     .version("1")
///     .state("draft", WorkflowState::run(draft).to("review"))
///     .state("review", WorkflowState::wait_for("approved").then("published"))
///     .state("published", WorkflowState::end());
/// assert!(article.check().is_ok());
/// ```
#[must_use = "a definition does nothing before an agent brings it"]
pub struct Workflow<S = ()> {
    name: String,
    version: String,
    initial: Option<String>,
    on_error: Option<String>,
    events: WorkflowEvents,
    indexes: Vec<String>,
    states: Vec<(String, WorkflowState<S>)>,
    migrations: Migrations,
}

/// A definition that can be run.
pub(crate) struct Definition {
    pub(crate) shape: Arc<WorkflowShape>,
    pub(crate) steps: HashMap<Name, Steps>,
    pub(crate) migrations: Migrations,
}

impl<S: Send + Sync + 'static> Workflow<S> {
    /// A definition; its name and states are checked when it is run.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1".to_owned(),
            initial: None,
            on_error: None,
            events: WorkflowEvents::default(),
            indexes: Vec::new(),
            states: Vec::new(),
            migrations: Migrations::new(),
        }
    }

    /// The version (default 1). A running workflow stays on the version that it began with: change it with every change
    /// that running workflows would notice.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Where a workflow begins when its start says nothing else (default: the first state).
    pub fn starts_at(mut self, state: &str) -> Self {
        self.initial = Some(state.to_owned());
        self
    }

    /// Where a state leads to that has failed for good and names no error state of its own.
    pub fn on_error(mut self, state: &str) -> Self {
        self.on_error = Some(state.to_owned());
        self
    }

    /// Which events are published (default all).
    pub fn events(mut self, events: WorkflowEvents) -> Self {
        self.events = events;
        self
    }

    /// Lets workflows be searched by a field of their data (the top of the map): a text, a number or a boolean.
    pub fn index(mut self, field: &str) -> Self {
        self.indexes.push(field.to_owned());
        self
    }

    /// Adds a state.
    pub fn state(mut self, name: &str, state: WorkflowState<S>) -> Self {
        self.states.push((name.to_owned(), state));
        self
    }

    /// How a workflow of another version is taken over by this one, when somebody asks for that: with other data, and into
    /// another state where that has another name. It is for checkpoints of that version, too. Workflows of versions that are not
    /// declared are taken over as they are, and what they have completed is undone by states of the same names. Pure: it sees
    /// the workflow and its data, and takes no effect. An error refuses the migration, and the workflow stays on its version.
    pub fn migrate_from<D, F>(mut self, version: &str, migrate: F) -> Self
    where
        D: DeserializeOwned,
        F: Fn(WorkflowMigration, D) -> Result<WorkflowMigration, McpError> + Send + Sync + 'static,
    {
        let migrate = migration::untyped(migrate);
        self.migrations.insert(version.to_owned(), migrate);
        self
    }

    /// Checks the definition and returns it as data.
    ///
    /// # Errors
    /// Names every state that is unknown, unreachable or has no way to an end.
    pub fn check(&self) -> Result<WorkflowShape, DefinitionError> {
        let shape = check::shape(
            &self.name,
            &self.version,
            self.initial.as_deref(),
            self.on_error.as_deref(),
            self.events,
            &self.migrations,
            &self.states,
        )?;
        check::indexed(shape, &self.indexes)
    }

    pub(crate) fn build(self, agent: &Arc<S>) -> Result<Definition, DefinitionError> {
        let shape = self.check()?;
        let names = shape.states.iter().map(|state| state.name.clone());
        let states = self.states.into_iter();
        let steps = names.zip(states.map(|(_, state)| state.bound(agent)));
        Ok(Definition {
            steps: steps.collect(),
            migrations: self.migrations,
            shape: Arc::new(shape),
        })
    }
}
