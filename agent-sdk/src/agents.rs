//! Which agents are there: read once, or watched.
//!
//! Neither needs a consumer on the server: the presence bucket is read by direct gets, and its changes are republished.

mod roster;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use mcp_runtime::{
    Client, InstanceState, PresenceRecord,
    transport::{self, StoreError},
};

pub use roster::{AgentChange, Gone};
pub use view::AgentsView;

/// A question for instances of agents; without a filter it is for all of them.
///
/// ```no_run
/// # async fn example(client: mcp_agent_sdk::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_agent_sdk::{AgentChange, Agents};
///
/// let writers = Agents::of(&client).action("draft").list().await?;
/// println!("{} instances can draft", writers.len());
///
/// let mut view = Agents::of(&client).agent("writer").watch().await?;
/// while let Some(change) = view.next().await {
///     match change {
///         AgentChange::Online(now) => println!("{} has come", now.instance),
///         AgentChange::Changed { now, .. } => println!("{} is {:?}", now.instance, now.state),
///         AgentChange::Offline { last, gone } => println!("{} has gone: {gone:?}", last.instance),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a question that nobody asks"]
pub struct Agents {
    client: Client,
    filter: Filter,
    tells: bool,
}

/// What is wanted of an instance.
#[derive(Debug, Clone, Default)]
struct Filter {
    agent: Option<String>,
    version: Option<String>,
    state: Option<InstanceState>,
    action: Option<String>,
}

impl Agents {
    /// Asks over this connection.
    pub fn of(client: &Client) -> Self {
        Self {
            client: client.clone(),
            filter: Filter::default(),
            tells: false,
        }
    }

    /// Only instances of this agent.
    pub fn agent(mut self, name: &str) -> Self {
        self.filter.agent = Some(name.to_owned());
        self
    }

    /// Only instances of this version.
    pub fn version(mut self, version: &str) -> Self {
        self.filter.version = Some(version.to_owned());
        self
    }

    /// Only instances in this state.
    pub fn state(mut self, state: InstanceState) -> Self {
        self.filter.state = Some(state);
        self
    }

    /// Only instances that have this action.
    pub fn action(mut self, action: &str) -> Self {
        self.filter.action = Some(action.to_owned());
        self
    }

    /// Publishes what the view sees expire as the event `instance_offline` (default: not, because agents do it). However many
    /// do it, one is stored.
    pub fn telling(mut self) -> Self {
        self.tells = true;
        self
    }

    /// The records of all instances that are there now, ordered by agent and instance.
    ///
    /// # Errors
    /// When the bucket is not there or the server does not answer.
    pub async fn list(&self) -> Result<Vec<PresenceRecord>, StoreError> {
        let mut records = transport::instances(&self.client).await?;
        records.retain(|record| self.filter.takes(record));
        Ok(records)
    }

    /// Watches them from now on.
    ///
    /// # Errors
    /// As [`Agents::list`].
    pub async fn watch(self) -> Result<AgentsView, StoreError> {
        AgentsView::begin(self.client, self.filter, self.tells).await
    }
}

/// The agents of which instances of several versions are there at once, with these versions: a rollout that is under way, or
/// one that was forgotten.
#[must_use]
pub fn several_versions(records: &[PresenceRecord]) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in records {
        let of_agent = versions.entry(record.agent.clone()).or_default();
        of_agent.insert(record.version.clone());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

impl Filter {
    fn takes(&self, record: &PresenceRecord) -> bool {
        let same = |wanted: &Option<String>, has: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == has)
        };
        let acts = |wanted: &String| record.actions.iter().any(|action| action.name == *wanted);
        same(&self.agent, &record.agent)
            && same(&self.version, &record.version)
            && self.state.is_none_or(|wanted| wanted == record.state)
            && self.action.as_ref().is_none_or(acts)
    }
}
