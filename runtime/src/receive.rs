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
mod verdict;

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    error::ReceiveError,
    message::{McpError, Name, Namespace, Priority, Raw, Token},
    outcome::Outcomes,
    presence::{self, ActionInfo, Presence, PresenceChanges},
    telemetry::{self, Health, Pulse},
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
use expect::expect_consumers;
use pack::SettledPacks;

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

/// A running instance of an agent.
pub struct Worker {
    shared: Arc<Shared>,
    presence: Presence,
    drain: CancellationToken,
    idle: watch::Receiver<bool>,
    leases: Leases,
    stop: CancellationToken,
    drain_requested: mpsc::Receiver<()>,
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
        let mut refusals = client.denials().listen();
        let load = Arc::new(LoadMeter::new(config.capacity.max(1)));
        let lifeline = client.lifeline().await;
        let lifeline = lifeline.map_err(|reason| ReceiveError::Presence { reason })?;
        // The first record also tells the offset of the server's clock, by which deadlines are judged.
        let presence = Presence::announce(
            &client,
            &config,
            handler.described(),
            Arc::clone(&load),
            Arc::clone(&lifeline),
        )
        .await?;
        telemetry::watch_load(&config.agent, &load);
        let stop = CancellationToken::new();
        let unless_started = stop.clone().drop_guard();
        lifeline.follow(stop.clone());
        let bulkheads = Bulkheads::of(&*handler);
        let shared = Arc::new_cyclic(|myself| Shared {
            agent: config.agent,
            instance: config.instance,
            client: client.clone(),
            handler,
            load,
            cancellations: Cancellations::new(),
            outcomes: Outcomes::new(&client),
            bulkheads,
            held_back: HeldBack::default(),
            settled_packs: SettledPacks::default(),
            pulse: Arc::default(),
            myself: Weak::clone(myself),
            abandon: CancellationToken::new(),
        });
        let leases = Leases::keep(client, lifeline, stop.clone());
        let drain = CancellationToken::new();
        let (drain_tx, drain_requested) = mpsc::channel(1);
        let (idle_tx, idle) = watch::channel(false);
        let receiving = intake::Intake::new(
            Arc::clone(&shared),
            leases.clone(),
            slots::Slots::new(config.capacity.max(1), config.capacity_bytes.max(1)),
            drain.clone(),
            drain_tx,
        )
        .await?;
        tokio::spawn(receiving.run(idle_tx));
        let changes_subject = format!("{}.presence.>", shared.client.namespace());
        let changes = PresenceChanges::listen(&shared.client).await;
        let changes = changes.map_err(|error| ReceiveError::Subscribe {
            subject: changes_subject,
            reason: error.to_string(),
        })?;
        tokio::spawn(presence::observe(
            shared.client.clone(),
            changes,
            stop.clone(),
        ));
        let lanes = Priority::ALL.map(|lane| Namespace::lane_consumer(&shared.agent, lane));
        let commands = shared.client.namespace().commands_stream();
        expect_consumers(&shared.client, &commands, &lanes).await?;
        // Their answers came after what the server had to say about the subscriptions.
        if let Some(denied) = refusals.refused_subscription() {
            return Err(denied.into());
        }
        presence.ready();
        unless_started.disarm();
        Ok(Self {
            shared,
            presence,
            drain,
            idle,
            leases,
            stop,
            drain_requested,
        })
    }

    /// This instance's id.
    #[must_use]
    pub fn instance(&self) -> &Token {
        &self.shared.instance
    }

    /// The connection, under the agent's name.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Whether it can be given work, for probes from outside.
    #[must_use]
    pub fn health(&self) -> Health {
        let pulse = Arc::clone(&self.shared.pulse);
        Health::new(self.shared.client.clone(), pulse, self.drain.clone())
    }

    /// Waits until somebody asks for a drain by the control verb.
    pub async fn drain_requested(&mut self) {
        if self.drain_requested.recv().await.is_none() {
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
        self.drain.cancel();
        let done = tokio::time::timeout(grace, self.idle.wait_for(|idle| *idle))
            .await
            .is_ok_and(|idle| idle.is_ok());
        if !done {
            tracing::warn!("the grace is over, what still runs is left to other instances");
            self.shared.abandon.cancel();
            let _ = tokio::time::timeout(ABANDON_TIMEOUT, self.idle.wait_for(|idle| *idle)).await;
        }
        done
    }

    /// The second half: the presence record goes, and everything published leaves for the server.
    pub async fn leave(mut self) {
        self.presence.leave().await;
        self.stop.cancel();
        self.shared.client.flush().await;
    }
}

impl Drop for Worker {
    // A worker that is dropped without a drain stops at once; its messages come back elsewhere.
    fn drop(&mut self) {
        self.drain.cancel();
        self.shared.abandon.cancel();
        self.stop.cancel();
    }
}
