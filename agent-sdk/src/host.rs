//! An agent as a service: connect, run, drain.

use std::{sync::Arc, time::Duration};

use mcp_runtime::{
    Client, Config, ConnectError, EventDelivery, EventSubscription, EventSubscriptionConfig,
    McpError, Token, Worker,
};
use mcp_workflow_engine::Engine;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::{
    agent::{Agent, CheckedAgent},
    context::Context,
    error::{Error, chain},
    handler::{BoxFuture, Subscriber},
    telemetry::{Probes, RunningTelemetry, Telemetry},
};

pub(crate) type EventHandlerOf<S> =
    Arc<dyn Fn(Context<S>, EventDelivery) -> BoxFuture<Result<(), McpError>> + Send + Sync>;

/// Between two log lines about a server that is not there.
const WAITING_NOTICE: Duration = Duration::from_secs(5);

/// An agent that runs; dropping it stops it at once, without a drain.
pub struct RunningAgent {
    worker: Worker,
    subscriptions: Vec<EventSubscription>,
    engine: Option<Engine>,
    drain_grace: Duration,
}

impl RunningAgent {
    /// This instance's id.
    #[must_use]
    pub fn instance(&self) -> &Token {
        self.worker.instance()
    }

    /// Waits until somebody asks for a drain by the control verb.
    pub async fn drain_requested(&mut self) {
        self.worker.drain_requested().await;
    }

    /// Stops pulling, lets what runs come to its end, and takes leave. Returns whether everything was
    /// done; what was not is delivered to another instance.
    pub async fn drain(mut self) -> bool {
        let grace = self.drain_grace;
        let events = self
            .subscriptions
            .into_iter()
            .map(|subscription| subscription.drain(grace));
        let engine = async {
            match self.engine {
                Some(engine) => engine.drain(grace).await,
                None => true,
            }
        };
        let (done, _, workflows_done) = tokio::join!(
            self.worker.finish(grace),
            futures_util::future::join_all(events),
            engine,
        );
        // Only now: until here the handlers of events and the states of workflows need their leases kept.
        self.worker.leave().await;
        done && workflows_done
    }
}

pub(crate) async fn start<S: Send + Sync + 'static>(
    agent: Agent<S>,
    client: &Client,
) -> Result<RunningAgent, Error> {
    start_checked(agent.checked()?, client).await
}

async fn start_checked<S: Send + Sync + 'static>(
    agent: CheckedAgent<S>,
    client: &Client,
) -> Result<RunningAgent, Error> {
    let CheckedAgent {
        worker,
        definitions,
        engine,
        actions,
        subscriptions,
        drain_grace,
        http: _,
    } = agent;
    let state = Arc::clone(&actions.state);
    // Boxed: what happens once is not to make every agent's future larger.
    Box::pin(definitions.publish(client)).await?;
    let worker = Worker::start(client, worker, Arc::new(actions)).await?;
    let more = async {
        let subscriptions = subscribe(&worker, &state, subscriptions).await?;
        let engine = match definitions.is_empty() {
            true => None,
            false => Some(Engine::start(&worker, definitions, engine).await?),
        };
        Ok((subscriptions, engine))
    };
    match Box::pin(more).await {
        Ok((subscriptions, engine)) => Ok(RunningAgent {
            worker,
            subscriptions,
            engine,
            drain_grace,
        }),
        Err(error) => {
            // What it has begun is left to others; its presence must not outlive it.
            worker.drain(Duration::ZERO).await;
            Err(error)
        }
    }
}

async fn subscribe<S: Send + Sync + 'static>(
    worker: &Worker,
    state: &Arc<S>,
    subscriptions: Vec<(EventSubscriptionConfig, EventHandlerOf<S>)>,
) -> Result<Vec<EventSubscription>, Error> {
    let mut running = Vec::new();
    for (config, handler) in subscriptions {
        let subscriber = Subscriber {
            state: Arc::clone(state),
            client: worker.client().clone(),
            instance: worker.instance().clone(),
            handler,
        };
        running.push(EventSubscription::start(worker, config, Arc::new(subscriber)).await?);
    }
    Ok(running)
}

/// Runs until a signal or the control verb asks for the end.
pub(crate) async fn run<S: Send + Sync + 'static>(
    agent: Agent<S>,
    config: Config,
) -> Result<(), Error> {
    let agent = agent.checked()?;
    let telemetry = Telemetry::of(agent.worker.agent.as_str())
        .instance(agent.worker.instance.as_str(), &agent.worker.version)
        .scraped(agent.http.is_some())
        .start();
    let ran = Box::pin(serve(agent, config, &telemetry)).await;
    telemetry.shutdown().await;
    ran
}

async fn serve<S: Send + Sync + 'static>(
    agent: CheckedAgent<S>,
    config: Config,
    telemetry: &RunningTelemetry,
) -> Result<(), Error> {
    // Before the server is there: whoever watches is to see that we live and wait.
    let probes = agent
        .http
        .map(|address| {
            let served = Probes::serve(address, telemetry.figures());
            served.map_err(|source| Error::Http { address, source })
        })
        .transpose()?;
    if let Some(probes) = &probes {
        tracing::info!(address = %probes.address(), "serving /livez, /readyz and /metrics");
    }
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let name = agent.worker.agent.clone();
    let config = config.name(name.as_str());

    let client = tokio::select! {
        client = connect(&config) => client?,
        () = signals.next() => return Ok(()),
    };
    let mut running = start_checked(agent, &client).await?;
    if let Some(probes) = &probes {
        probes.watch(running.worker.health());
    }
    tracing::info!(agent = %name, instance = %running.instance(), server = client.server(), "ready");
    tokio::select! {
        () = signals.next() => {}
        () = running.drain_requested() => {}
    }
    tracing::info!(agent = %name, "draining");
    tokio::select! {
        done = running.drain() => tracing::info!(agent = %name, done, "stopped"),
        () = signals.next() => tracing::warn!(agent = %name, "stopped at once by a second signal"),
    }
    Ok(())
}

/// Waits for the server, and says so: at once, and then every few seconds.
async fn connect(config: &Config) -> Result<Client, ConnectError> {
    let began = Instant::now();
    let mut noticed: Option<Instant> = None;
    loop {
        let error = match Client::connect(config.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) if error.is_temporary() => error,
            Err(error) => return Err(error),
        };
        if noticed.is_none_or(|at| at.elapsed() >= WAITING_NOTICE) {
            noticed = Some(Instant::now());
            let waited_s = began.elapsed().as_secs();
            tracing::warn!(
                error = chain(&error),
                waited_s,
                "waiting for the server; start one with `mcpctl dev`, or set MCP_NATS_URL"
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The signals that ask a service to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
