//! The receiving side of an agent: pull by lane -> decode -> handler -> settle.
//!
//! One task owns what is asked for, what is here and what runs; each command runs in a task of its own.

mod again;
mod bulkhead;
mod cancellations;
mod consume;
mod control;
mod delivery;
mod execute;
mod expect;
mod inbound;
mod intake;
mod lease;
mod load;
mod once;
mod pack;
mod plan;
mod puller;
mod room;
mod settle;
mod slots;
mod tasks;
mod verdict;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    error::ReceiveError,
    message::{McpError, Name, Raw, Token},
    outcome::Outcomes,
    presence::{ActionInfo, Presence},
    telemetry::{Health, Pulse},
    topology,
};

pub use execute::Invocation;

pub use consume::{Consumption, Delivered};
pub use delivery::DeliveryInfo;
pub use lease::Lease;

pub(crate) use lease::Leases;
pub(crate) use load::LoadMeter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {control::read_control, delivery::age_before};

use again::HeldBack;
use bulkhead::Bulkheads;
use cancellations::Cancellations;
use pack::SettledPacks;
use tasks::Tasks;

/// What an agent does with its commands.
pub trait CommandHandler: Send + Sync + 'static {
    /// The names of the actions, in the order in which people should read them.
    fn actions(&self) -> Vec<String>;

    /// The same as the presence record is to show them: with their schemas, where these are known.
    fn described(&self) -> Vec<ActionInfo> {
        self.actions().into_iter().map(ActionInfo::named).collect()
    }

    /// Whether there is an action of this name.
    fn knows(&self, action: &str) -> bool;

    /// How many commands of an action may run at once; `None`, the default, for as many as the capacity.
    fn limit(&self, action: &str) -> Option<u32> {
        let _ = action;
        None
    }

    /// Runs the action of a command.
    fn call(
        &self,
        invocation: Invocation,
    ) -> Pin<Box<dyn Future<Output = Result<Raw, McpError>> + Send>>;
}

/// How long abandoned handlers may take to notice.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);

/// How one instance of an agent works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The agent's name; instances of the same name share its work.
    pub agent: Name,
    /// This instance.
    pub instance: Token,
    /// The agent's version, told in its presence record.
    pub version: String,
    /// Handlers that may run at once, at least 1 (default 64).
    pub capacity: u32,
    /// Bytes of message bodies held at once, whether in the message or claimed by it (default 64 MiB). One that is larger
    /// is taken when nothing else runs.
    pub capacity_bytes: u64,
    /// Between two presence records (default 5 s).
    pub heartbeat_interval: Duration,
    /// The workflow definitions that it runs, as its presence record shows them.
    pub definitions: Vec<serde_json::Value>,
}

impl WorkerConfig {
    /// The defaults for an agent.
    #[must_use]
    pub fn new(agent: Name) -> Self {
        Self {
            agent,
            instance: Token::random(),
            version: "0.0.0".to_owned(),
            capacity: 64,
            capacity_bytes: 64 * 1024 * 1024,
            heartbeat_interval: Duration::from_secs(5),
            definitions: Vec::new(),
        }
    }
}

/// What all tasks of a worker share.
pub(crate) struct Shared {
    agent: Name,
    instance: Token,
    client: Client,
    handler: Arc<dyn CommandHandler>,
    load: Arc<LoadMeter>,
    cancellations: Cancellations,
    outcomes: Outcomes,
    bulkheads: Bulkheads,
    held_back: HeldBack,
    settled_packs: SettledPacks,
    /// Of the intake.
    pulse: Arc<Pulse>,
    myself: Weak<Shared>,
    /// Fires when the grace of a drain is over: whatever still runs is left to others.
    abandon: CancellationToken,
}

impl Shared {
    fn myself(&self) -> Weak<Self> {
        Weak::clone(&self.myself)
    }
}

/// A running instance of an agent; dropping it stops it at once, its messages come back elsewhere.
pub struct Worker {
    presence: Presence,
    tasks: Tasks,
}

impl Worker {
    /// Starts to pull and to run commands.
    ///
    /// # Errors
    /// When the agent's consumers cannot be created or differ, or its presence cannot be written.
    pub async fn start(
        client: &Client,
        config: WorkerConfig,
        handler: Arc<dyn CommandHandler>,
    ) -> Result<Self, ReceiveError> {
        let client = client.named(config.agent.clone());
        if client.may_create() {
            topology::ensure_agent(
                client.jetstream(),
                client.namespace().as_str(),
                config.agent.as_str(),
            )
            .await?;
        }
        let refusals = client.denials().listen();
        let load = Arc::new(LoadMeter::new(config.capacity.max(1)));
        let lifeline = client.lifeline().await;
        let lifeline = lifeline.map_err(|reason| ReceiveError::Presence { reason })?;
        // The first record also tells the offset of the server's clock, by which deadlines are judged.
        let mut presence = Presence::announce(
            &client,
            &config,
            handler.described(),
            Arc::clone(&load),
            Arc::clone(&lifeline),
        )
        .await?;
        match Tasks::begin(client, config, handler, load, lifeline, refusals).await {
            Ok(tasks) => {
                presence.ready();
                Ok(Self { presence, tasks })
            }
            Err(error) => {
                // Others would take it for alive, and then for dead.
                presence.leave().await;
                Err(error)
            }
        }
    }

    /// This instance's id.
    #[must_use]
    pub fn instance(&self) -> &Token {
        &self.tasks.shared.instance
    }

    /// The connection, under the agent's name.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.tasks.shared.client
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.tasks.leases
    }

    /// Whether it can be given work, for probes from outside.
    #[must_use]
    pub fn health(&self) -> Health {
        let pulse = Arc::clone(&self.tasks.shared.pulse);
        Health::new(
            self.tasks.shared.client.clone(),
            pulse,
            self.tasks.drain.clone(),
        )
    }

    /// Waits until somebody asks for a drain by the control verb.
    pub async fn drain_requested(&mut self) {
        if self.tasks.drain_requested.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Stops pulling, lets what runs come to its end within `grace`, and takes leave. What is not done
    /// by then is delivered to another instance. Returns whether everything was done.
    pub async fn drain(mut self, grace: Duration) -> bool {
        let done = self.finish(grace).await;
        self.leave().await;
        done
    }

    /// The first half of a drain: the leases are still kept, also those of the worker's events.
    pub async fn finish(&mut self, grace: Duration) -> bool {
        self.presence.draining();
        self.tasks.drain.cancel();
        let done = tokio::time::timeout(grace, self.tasks.idle.wait_for(|idle| *idle))
            .await
            .is_ok_and(|idle| idle.is_ok());
        if !done {
            tracing::warn!("the grace is over, what still runs is left to other instances");
            self.tasks.shared.abandon.cancel();
            let _ =
                tokio::time::timeout(ABANDON_TIMEOUT, self.tasks.idle.wait_for(|idle| *idle)).await;
        }
        done
    }

    /// The second half: the presence record goes, and everything published leaves for the server.
    pub async fn leave(mut self) {
        self.presence.leave().await;
        self.tasks.stop.cancel();
        self.tasks.shared.client.flush().await;
    }
}
