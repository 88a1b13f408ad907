//! An agent, put together from plain async functions.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use mcp_runtime::{
    Action, Client, Config, ConfigError, InvalidName, Name, WorkerConfig, env_duration, env_parsed,
    env_size,
};
use mcp_workflow_engine::{Definitions, EngineConfig, Workflow};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    batch::{self, BatchFunction},
    error::Error,
    event::Subscription,
    handler::{Actions, EventFunction, HandlerFunction, boxed, boxed_event},
    host::{self, RunningAgent},
};

/// An agent: a name, the actions that it serves and the events that it wants.
///
/// Instances of the same agent share its work; run as many processes as the work needs. `S` is the
/// state that its handlers share, see [`Agent::with_state`]; most agents have none.
///
/// ```no_run
/// use mcp_agent_sdk::{Agent, Context, McpError};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Counter { calls: AtomicU64 }
///
/// async fn count(ctx: Context<Counter>, _: ()) -> Result<u64, McpError> {
///     Ok(ctx.state().calls.fetch_add(1, Ordering::Relaxed) + 1)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), mcp_agent_sdk::Error> {
/// Agent::with_state("counter", Counter::default()).on("count", count).capacity(8).run().await
/// # }
/// ```
#[must_use = "an agent does nothing before it is run"]
pub struct Agent<S = ()> {
    name: String,
    actions: Actions<S>,
    subscriptions: Vec<(Subscription, host::EventHandlerOf<S>)>,
    workflows: Vec<Workflow<S>>,
    workflow_capacity: Option<u32>,
    version: Option<String>,
    capacity: Option<u32>,
    capacity_bytes: Option<usize>,
    heartbeat_interval: Option<Duration>,
    drain_grace: Option<Duration>,
    http: Option<SocketAddr>,
    mistakes: Vec<String>,
}

/// How long a drain lets handlers run when nothing else is said: below the 30 s that Kubernetes gives.
const DRAIN_GRACE: Duration = Duration::from_secs(25);

impl Agent {
    /// An agent without state. The name is checked when it is run.
    pub fn new(name: &str) -> Self {
        Self::with_state(name, ())
    }
}

impl<S: Send + Sync + 'static> Agent<S> {
    /// An agent whose handlers share `state`; they take a `Context<S>` and read it by
    /// [`Context::state`].
    pub fn with_state(name: &str, state: S) -> Self {
        Self {
            name: name.to_owned(),
            actions: Actions {
                state: Arc::new(state),
                names: Vec::new(),
                handlers: HashMap::new(),
                limits: HashMap::new(),
                schemas: HashMap::new(),
            },
            subscriptions: Vec::new(),
            workflows: Vec::new(),
            workflow_capacity: None,
            version: None,
            capacity: None,
            capacity_bytes: None,
            heartbeat_interval: None,
            drain_grace: None,
            http: None,
            mistakes: Vec::new(),
        }
    }

    /// Serves an action with an async function `(Context, P) -> Result<R, McpError>`.
    pub fn on<P, R, F>(mut self, action: &str, handler: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
        F: HandlerFunction<S, P, R>,
    {
        match Name::new(action) {
            Err(error) => self.mistakes.push(format!("action {error}")),
            Ok(_) if action == "pack" => self
                .mistakes
                .push("the action name `pack` is reserved".to_owned()),
            Ok(_) if self.actions.handlers.contains_key(action) => {
                self.mistakes
                    .push(format!("the action `{action}` has two handlers"));
            }
            Ok(_) => {
                self.actions.names.push(action.to_owned());
                self.actions
                    .handlers
                    .insert(action.to_owned(), boxed(handler));
            }
        }
        self
    }

    /// Serves a typed action.
    pub fn handle<P, R, F>(mut self, action: Action<P, R>, handler: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
        F: HandlerFunction<S, P, R>,
    {
        if action.agent() != self.name {
            let mistake = format!(
                "the action `{}` belongs to `{}`, not to `{}`",
                action.name(),
                action.agent(),
                self.name
            );
            self.mistakes.push(mistake);
        }
        self.on(action.name(), handler)
    }

    /// As [`Agent::on`], and tells the JSON Schemas of both types in the presence record, where `mcpctl agents NAME` shows
    /// them. The types derive [`JsonSchema`](crate::JsonSchema); a schema over 8 KiB, or beyond 32 KiB together, is left out.
    ///
    /// ```
    /// use mcp_agent_sdk::{Agent, Context, JsonSchema, McpError, schemars};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// struct Draft { /// What it is to be about.
    ///     topic: String }
    ///
    /// async fn draft(_ctx: Context, draft: Draft) -> Result<String, McpError> {
    ///     Ok(format!("All about {}", draft.topic))
    /// }
    ///
    /// let writer = Agent::new("writer").on_described("draft", draft);
    /// ```
    #[cfg(feature = "schemas")]
    pub fn on_described<P, R, F>(mut self, action: &str, handler: F) -> Self
    where
        P: DeserializeOwned + schemars::JsonSchema + Send + 'static,
        R: Serialize + schemars::JsonSchema + 'static,
        F: HandlerFunction<S, P, R>,
    {
        let schemas = crate::schema::Schemas::of::<P, R>();
        self.actions.schemas.insert(action.to_owned(), schemas);
        self.on(action, handler)
    }

    /// As [`Agent::handle`] and [`Agent::on_described`].
    #[cfg(feature = "schemas")]
    pub fn handle_described<P, R, F>(mut self, action: Action<P, R>, handler: F) -> Self
    where
        P: DeserializeOwned + schemars::JsonSchema + Send + 'static,
        R: Serialize + schemars::JsonSchema + 'static,
        F: HandlerFunction<S, P, R>,
    {
        let schemas = crate::schema::Schemas::of::<P, R>();
        self.actions
            .schemas
            .insert(action.name().to_owned(), schemas);
        self.handle(action, handler)
    }

    /// Receives the events `event` of `agent` from now on, durably.
    pub fn on_event<D, F>(self, agent: &str, event: &str, handler: F) -> Self
    where
        D: DeserializeOwned + Send + 'static,
        F: EventFunction<S, D>,
    {
        self.on_events(Subscription::to(agent, event), handler)
    }

    /// Receives events by a subscription of the author's own making.
    pub fn on_events<D, F>(mut self, subscription: Subscription, handler: F) -> Self
    where
        D: DeserializeOwned + Send + 'static,
        F: EventFunction<S, D>,
    {
        self.subscriptions
            .push((subscription, boxed_event(handler)));
        self
    }

    /// Receives events by up to `most` at once (at least 1): those that have come while the last batch was handled. All events
    /// of a batch share what comes of it: an error brings all of them back, or puts all among the dead letters.
    ///
    /// ```
    /// use mcp_agent_sdk::{Agent, Context, Event, McpError, Subscription};
    ///
    /// async fn store(_ctx: Context, scripts: Vec<Event<String>>) -> Result<(), McpError> {
    ///     // one write for all of them
    ///     assert!(!scripts.is_empty());
    ///     Ok(())
    /// }
    ///
    /// let archive = Agent::new("archive").on_batch(Subscription::to("writer", "script_generated"), 100, store);
    /// ```
    pub fn on_batch<D, F>(mut self, subscription: Subscription, most: usize, handler: F) -> Self
    where
        D: DeserializeOwned + Send + 'static,
        F: BatchFunction<S, D>,
    {
        let most = most.max(1);
        // One batch is handled while the next gathers.
        let at_once = u32::try_from(2 * most).unwrap_or(u32::MAX);
        self.subscriptions
            .push((subscription.at_least(at_once), batch::boxed(most, handler)));
        self
    }

    /// Brings a workflow definition: this agent's instances run its states, any agent and any client can drive it. Of
    /// several versions the one added last is what new workflows begin with.
    pub fn workflow(mut self, workflow: Workflow<S>) -> Self {
        self.workflows.push(workflow);
        self
    }

    /// Hosts the schedules of the namespace, which any client adds with [`Schedules`](crate::Schedules). Several agents may: each time
    /// is seen to once.
    pub fn schedules(self) -> Self {
        self.workflow(mcp_workflow_engine::schedule_workflow())
    }

    /// Workflows of one definition that one instance runs at once (default 256, or `MCP_WORKFLOW_CAPACITY`).
    pub fn workflow_capacity(mut self, capacity: u32) -> Self {
        self.workflow_capacity = Some(capacity);
        self
    }

    /// Handlers that may run at once in one instance (default 64, or `MCP_AGENT_CAPACITY`).
    pub fn capacity(mut self, capacity: u32) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Bytes of message bodies that one instance holds at once (default 64 MiB, or `MCP_AGENT_CAPACITY_BYTES`, such as
    /// `64MiB`). One that is larger is taken when nothing else runs.
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    /// Commands of one action that may run at once in one instance, at least 1 (default: as many as the
    /// capacity): a slow action then leaves room for the others.
    pub fn limit(mut self, action: &str, at_once: u32) -> Self {
        self.actions.limits.insert(action.to_owned(), at_once);
        self
    }

    /// The agent's version, told in its presence record (default 0.0.0, or `MCP_AGENT_VERSION`).
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Between two presence records (default 5 s, or `MCP_HEARTBEAT_INTERVAL`).
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = Some(interval);
        self
    }

    /// How long a drain lets handlers run (default 25 s, or `MCP_DRAIN_GRACE`).
    pub fn drain_grace(mut self, grace: Duration) -> Self {
        self.drain_grace = Some(grace);
        self
    }

    /// Runs the agent as a service until SIGTERM or Ctrl-C, then drains it.
    ///
    /// Everything around it is read from the environment: `MCP_NATS_URL` (default
    /// `nats://127.0.0.1:4222`), `MCP_NAMESPACE`, `MCP_LOG` and what the builder's methods name. A server
    /// that is not there is waited for, and said so.
    ///
    /// # Errors
    /// When the agent or its configuration is not valid, or the server cannot be used.
    pub async fn run(self) -> Result<(), Error> {
        let config = Config::from_env()?;
        self.run_with(config).await
    }

    /// As [`Agent::run`], with a connection of the caller's choice.
    ///
    /// # Errors
    /// As [`Agent::run`].
    pub async fn run_with(self, config: Config) -> Result<(), Error> {
        // Boxed: an author's `main` is not to be as large as all of this.
        Box::pin(host::run(self.with_environment()?, config)).await
    }

    /// Starts the agent on a connection, for tests and programs with several agents.
    ///
    /// # Errors
    /// When the agent is not valid or its consumers cannot be created.
    pub async fn start(self, client: &Client) -> Result<RunningAgent, Error> {
        host::start(self, client).await
    }

    /// Fills in what the builder has left open.
    fn with_environment(mut self) -> Result<Self, ConfigError> {
        let capacity = env_parsed("MCP_AGENT_CAPACITY", "a number from 1 up")?;
        self.capacity = self.capacity.or(capacity);
        self.capacity_bytes = self
            .capacity_bytes
            .or(env_size("MCP_AGENT_CAPACITY_BYTES")?);
        let workflow_capacity = env_parsed("MCP_WORKFLOW_CAPACITY", "a number from 1 up")?;
        self.workflow_capacity = self.workflow_capacity.or(workflow_capacity);
        self.version = self
            .version
            .or_else(|| std::env::var("MCP_AGENT_VERSION").ok());
        self.heartbeat_interval = self
            .heartbeat_interval
            .or(env_duration("MCP_HEARTBEAT_INTERVAL")?);
        self.drain_grace = self.drain_grace.or(env_duration("MCP_DRAIN_GRACE")?);
        self.http = env_parsed("MCP_HTTP_ADDR", "an address such as 127.0.0.1:9464")?;
        Ok(self)
    }

    pub(crate) fn checked(self) -> Result<CheckedAgent<S>, Error> {
        let mut mistakes = self.mistakes;
        let mut note = |error: InvalidName| mistakes.push(error.to_string());
        let name = Name::new(&self.name).map_err(&mut note).ok();
        let mut subscriptions = Vec::new();
        for (subscription, handler) in self.subscriptions {
            match subscription.checked() {
                Ok(config) => subscriptions.push((config, handler)),
                Err(error) => note(error),
            }
        }
        let mut definitions = Definitions::new();
        for workflow in self.workflows {
            let added = definitions.add(workflow, &self.actions.state);
            mistakes.extend(added.err().map(|error| error.to_string()));
        }
        if self.workflow_capacity == Some(0) {
            mistakes.push("the workflow capacity must be at least 1".to_owned());
        }
        if self.name == "workflow" {
            mistakes.push("the agent name `workflow` is reserved".to_owned());
        }
        for (action, limit) in &self.actions.limits {
            if !self.actions.handlers.contains_key(action) {
                mistakes.push(format!(
                    "the limit of `{action}` is of an action that the agent does not have"
                ));
            }
            if *limit == 0 {
                mistakes.push(format!("the limit of `{action}` must be at least 1"));
            }
        }
        if self.capacity == Some(0) {
            mistakes.push("the capacity must be at least 1".to_owned());
        }
        if self.capacity_bytes == Some(0) {
            mistakes.push("the capacity in bytes must be at least 1".to_owned());
        }
        if self
            .heartbeat_interval
            .is_some_and(|interval| interval < Duration::from_millis(100))
        {
            mistakes.push("the heartbeat interval must be at least 100 ms".to_owned());
        }
        let (Some(name), true) = (name, mistakes.is_empty()) else {
            return Err(Error::Agent {
                name: self.name,
                mistakes: mistakes.join("; "),
            });
        };
        let mut worker = WorkerConfig::new(name);
        worker.version = self.version.unwrap_or(worker.version);
        worker.capacity = self.capacity.unwrap_or(worker.capacity);
        if let Some(bytes) = self.capacity_bytes {
            worker.capacity_bytes = bytes as u64;
        }
        worker.heartbeat_interval = self.heartbeat_interval.unwrap_or(worker.heartbeat_interval);
        worker.definitions = definitions.summary();
        let mut engine = EngineConfig::default();
        engine.concurrency = self.workflow_capacity.unwrap_or(engine.concurrency);
        let drain_grace = self.drain_grace.unwrap_or(DRAIN_GRACE);
        Ok(CheckedAgent {
            worker,
            definitions,
            engine,
            actions: self.actions,
            subscriptions,
            drain_grace,
            http: self.http,
        })
    }
}

/// An agent that can be run.
pub(crate) struct CheckedAgent<S> {
    pub(crate) worker: WorkerConfig,
    pub(crate) definitions: Definitions,
    pub(crate) engine: EngineConfig,
    pub(crate) actions: Actions<S>,
    pub(crate) subscriptions: Vec<(
        mcp_runtime::EventSubscriptionConfig,
        host::EventHandlerOf<S>,
    )>,
    pub(crate) drain_grace: Duration,
    /// Where probes are answered.
    pub(crate) http: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, McpError};

    async fn nothing(_: Context, _: ()) -> Result<(), McpError> {
        Ok(())
    }

    #[test]
    fn mistakes_are_all_reported_at_once() {
        const OTHER: Action<(), ()> = Action::new("other", "act");
        let agent = Agent::new("Bad Name")
            .on("pack", nothing)
            .on("a", nothing)
            .on("a", nothing)
            .handle(OTHER, nothing);
        let text = agent
            .capacity(0)
            .checked()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        for part in [
            "Bad Name",
            "`pack` is reserved",
            "two handlers",
            "belongs to `other`",
            "at least 1",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
