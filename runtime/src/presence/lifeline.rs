//! The connection over which a process gives its signs of life, on a thread of its own.
//!
//! A handler may block every thread of its runtime, and with them the connection over which the work goes: the server would
//! take its instance for dead and its commands for abandoned. What must go on all the same goes over this connection:
//! presence records, and the renewal of leases. Nothing that an author wrote runs on its thread.
//!
//! All workers of a client share one; it closes with the last of them.

use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use async_nats::{connection::State, jetstream};
use tokio::{
    runtime::{Builder, Handle},
    sync::{Mutex, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    client,
    config::Config,
    denials::Denials,
    error::ConnectError,
    message::Name,
    store::Publisher,
    telemetry::{HUNG_AFTER, Pulse},
    topology::{self, TopologyConfig, TopologyError},
};

/// How often a runtime shows that it turns.
const TURN: Duration = Duration::from_secs(1);

/// How long opening is tried: the server was there a moment ago.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const OPEN_PAUSE: Duration = Duration::from_millis(200);

/// How long the last publishes may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection, and the runtime of its thread.
pub(crate) struct Lifeline {
    opened: Opened,
    /// When a runtime of the author's last turned.
    turned: Pulse,
    _stop: DropGuard,
}

struct Opened {
    nats: async_nats::Client,
    jetstream: jetstream::Context,
    denials: Denials,
    connected: watch::Receiver<u64>,
    thread: Handle,
}

/// The lifeline of a client, while one of its workers has it.
pub(crate) struct Lifelines {
    config: Box<Config>,
    open: Mutex<Weak<Lifeline>>,
}

impl Lifelines {
    /// What would be opened by the same configuration as the client itself.
    pub(crate) fn to(config: &Config) -> Self {
        Self {
            config: Box::new(config.clone()),
            open: Mutex::default(),
        }
    }

    /// The one that is open, or a new one.
    pub(crate) async fn open(&self, name: &Name) -> Result<Arc<Lifeline>, String> {
        let mut open = self.open.lock().await;
        if let Some(lifeline) = open.upgrade() {
            return Ok(lifeline);
        }
        let lifeline = Arc::new(Lifeline::open(&self.config, name).await?);
        *open = Arc::downgrade(&lifeline);
        Ok(lifeline)
    }
}

impl Lifeline {
    /// Starts the thread, and connects there.
    pub(crate) async fn open(config: &Config, name: &Name) -> Result<Self, String> {
        let (told, opened) = oneshot::channel();
        let stop = CancellationToken::new();
        let (config, name, stopped) = (config.clone(), name.clone(), stop.clone());
        std::thread::Builder::new()
            .name("mcp-lifeline".to_owned())
            .spawn(move || live(&config, &name, told, &stopped))
            .map_err(|error| format!("no thread for the signs of life: {error}"))?;
        let opened = opened.await;
        let opened = opened.map_err(|_| "the thread for the signs of life has ended".to_owned())?;
        Ok(Self {
            opened: opened?,
            turned: Pulse::default(),
            _stop: stop.drop_guard(),
        })
    }

    /// The connection.
    pub(crate) fn nats(&self) -> &async_nats::Client {
        &self.opened.nats
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.nats().connection_state() == State::Connected
    }

    /// Counts the connections made so far.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        let mut connections = self.opened.connected.clone();
        connections.mark_unchanged();
        connections
    }

    /// Runs a task on the thread.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.opened.thread.spawn(task)
    }

    /// Takes it as a sign that the work goes on when the runtime of the caller turns, until told to stop.
    pub(crate) fn follow(self: &Arc<Self>, stop: CancellationToken) {
        let lifeline = Arc::clone(self);
        tokio::spawn(async move {
            lifeline.turned.beat();
            while stop.run_until_cancelled(sleep(TURN)).await.is_some() {
                lifeline.turned.beat();
            }
        });
    }

    /// Whether the author's runtime has been stuck for so long that it should be given up.
    pub(crate) fn is_hung(&self) -> bool {
        self.turned.silent_for() > HUNG_AFTER
    }

    /// Creates again what a restart of the server has taken with it.
    pub(crate) async fn restore(&self, wanted: &TopologyConfig) -> Result<(), TopologyError> {
        let ensured = topology::ensure(&self.opened.jetstream, wanted);
        ensured.await.map(drop)
    }
}

impl Publisher for Lifeline {
    fn nats(&self) -> &async_nats::Client {
        &self.opened.nats
    }

    fn denials(&self) -> &Denials {
        &self.opened.denials
    }
}

/// The thread: connects, and serves the connection and the tasks until told to stop.
fn live(
    config: &Config,
    name: &Name,
    told: oneshot::Sender<Result<Opened, String>>,
    stopped: &CancellationToken,
) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(told.send(Err(error.to_string()))),
    };
    runtime.block_on(async {
        let opened = match open(config, name).await {
            Ok(opened) => opened,
            Err(error) => return drop(told.send(Err(error.to_string()))),
        };
        let nats = opened.nats.clone();
        // Whoever asked may have gone away meanwhile; then the token is cancelled too.
        let _ = told.send(Ok(opened));
        stopped.cancelled().await;
        let _ = timeout(FLUSH_TIMEOUT, nats.flush()).await;
    });
}

async fn open(config: &Config, name: &Name) -> Result<Opened, ConnectError> {
    let give_up = Instant::now() + OPEN_WITHIN;
    let (connected_tx, connected) = watch::channel(0);
    let connected_tx = Arc::new(connected_tx);
    let denials = Denials::default();
    let nats = loop {
        let opening = client::open(config, name, Arc::clone(&connected_tx), denials.clone());
        match opening.await {
            Ok(nats) => break nats,
            Err(error) if error.is_temporary() && Instant::now() < give_up => {
                sleep(OPEN_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    };
    let jetstream = client::jetstream(&nats);
    Ok(Opened {
        nats,
        jetstream,
        denials,
        connected,
        thread: Handle::current(),
    })
}
