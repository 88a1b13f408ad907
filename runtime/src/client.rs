//! A connection to the server, under one namespace and one name.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_nats::{ConnectErrorKind, Event as ConnectionEvent, jetstream};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    action::Action,
    cancel,
    clock::ServerClock,
    config::{Config, ConfigError, Setup},
    denials::{Denials, Denied},
    error::{ConnectError, PublishError, SendError},
    events,
    history::{self, History, InstanceHistory, Note, PastMessage},
    message::{Event, Name, Namespace, Raw, Token},
    outcome::OutcomeRecord,
    payload::PayloadLimits,
    persistence::{DurabilityTable, Outbox},
    presence::{Lifeline, Lifelines},
    replies::Replies,
    script::Script,
    send::SendCommand,
    store::Publisher,
    submit::{self, SubmitCommand, Submitted},
    targets::{BreakerStatus, Protection, Target, Targets},
    topology::{self, TopologyConfig},
    trace::TraceContext,
};

/// Messages that wait for one subscription's reader. Beyond it the NATS client drops them, which is
/// logged; commands are pulled by count and replies are one per command, so it takes a storm.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// How long a flush waits for a server that may be away.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends commands, publishes events, carries agents. Cheap to clone; all clones share one connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use mcp_runtime::{Client, Config};
///
/// let client = Client::connect(Config::new("nats://127.0.0.1:4222").name("frontend")).await?;
/// let greeting: String = client
///     .send_command("greeter", "greet", "Ada")
///     .timeout(Duration::from_secs(5))
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    name: Name,
    inner: Arc<Connection>,
    outbox: Option<Arc<EmptiedOutbox>>,
}

/// The outbox, emptied for as long as somebody holds a client.
struct EmptiedOutbox {
    outbox: Outbox,
    _stop: DropGuard,
}

/// Where a client's replies come: `<identity>.<one of its clients>`.
pub(crate) struct Requester(String);

impl Requester {
    fn of(identity: &Name) -> Self {
        Self(format!("{identity}.{}", Token::random()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What all clones share.
struct Connection {
    nats: async_nats::Client,
    jetstream: jetstream::Context,
    namespace: Namespace,
    requester: Requester,
    replies: Replies,
    timeout: Duration,
    clock: ServerClock,
    targets: Targets,
    payloads: PayloadLimits,
    packs: bool,
    history: History,
    durability: DurabilityTable,
    connected: watch::Receiver<u64>,
    denials: Denials,
    setup: Setup,
    topology: TopologyConfig,
    display_url: String,
    shared: Shared,
    lifelines: Lifelines,
    /// Instead of the server, in tests of an author's code.
    script: Option<Arc<dyn Script>>,
}

/// What other crates keep beside a connection, by its type.
type Shared = Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>;

/// A connection that is not kept open by whoever has this.
pub(crate) struct WeakClient(Weak<Connection>);

impl WeakClient {
    /// The client under a name, while anybody has the connection.
    pub(crate) fn upgrade(&self, name: Name) -> Option<Client> {
        Some(Client {
            name,
            inner: self.0.upgrade()?,
            outbox: None,
        })
    }
}

impl Client {
    /// Connects, and creates or checks the streams and buckets.
    ///
    /// # Errors
    /// When no server answers, when it refuses the credentials, is too old, has no JetStream, or holds
    /// streams of the same names with other settings.
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        // Boxed: what is done once is not to make the future of every program larger.
        Box::pin(Self::connect_once(config)).await
    }

    async fn connect_once(config: Config) -> Result<Self, ConnectError> {
        let (namespace, name) = config.checked_names()?;
        let protection = Protection::new(config.breaker, config.breaker_scope, config.limiter)
            .map_err(ConfigError::Policy)?;
        let (connected_tx, connected) = watch::channel(0);
        let denials = Denials::default();
        let nats = open(&config, &name, Arc::new(connected_tx), denials.clone()).await?;
        let url = config.display_url();

        let jetstream = jetstream(&nats);
        let topology_error = |source| ConnectError::Topology {
            url: url.clone(),
            source: Box::new(source),
        };
        let requester = Requester::of(&config.checked_identity()?);
        // From before the first subscription: its refusal may come at any time.
        let refusals = denials.listen();
        let replies = Replies::subscribe(&nats, namespace.reply(requester.as_str(), "*"))
            .await
            .map_err(|_| ConnectError::Lost { url: url.clone() })?;
        // The first answers also show that answers can be heard at all.
        let denied = |denied: Denied| ConnectError::PermissionDenied {
            url: url.clone(),
            subject: denied.subject,
        };
        let checked = refusals.unless_anything_is_refused(topology::check_server(&jetstream));
        checked.await.map_err(denied)?.map_err(topology_error)?;
        let wanted = TopologyConfig {
            namespace: namespace.to_string(),
            ..config.topology.clone()
        };
        if config.setup == Setup::Ensure {
            let ensured = denials.unless_anything_is_refused(topology::ensure(&jetstream, &wanted));
            ensured.await.map_err(denied)?.map_err(topology_error)?;
        }

        let (targets, unpublished) = Targets::new(protection);
        let inner = Connection {
            nats,
            jetstream,
            namespace,
            requester,
            replies,
            timeout: config.timeout,
            clock: ServerClock::default(),
            targets,
            payloads: PayloadLimits::of(&config),
            packs: config.packs,
            history: History::new(config.history),
            durability: config.durability.clone(),
            connected,
            denials,
            setup: config.setup,
            topology: wanted,
            display_url: url,
            shared: Shared::default(),
            lifelines: Lifelines::to(&config),
            script: None,
        };
        let mut client = Self {
            name,
            inner: Arc::new(inner),
            outbox: None,
        };
        let weak = WeakClient(Arc::downgrade(&client.inner));
        tokio::spawn(unpublished.publish(weak));
        if let Some(outbox) = config.outbox {
            client.outbox = Some(client.empty(Outbox::open(outbox).await.map_err(Box::new)?));
        }
        Ok(client)
    }

    /// A client that has a script instead of a server; see [`Script`].
    ///
    /// # Panics
    /// Never: the address and the defaults that it is made of are constants.
    pub async fn scripted(name: Name, script: Arc<dyn Script>) -> Self {
        // Never connected: the first attempt is made and fails, and the next would be after the longest of tests.
        const NOWHERE: &str = "nats://127.0.0.1:9";
        const NEVER: Duration = Duration::from_secs(24 * 3600);
        let config = Config::new(NOWHERE).name(name.as_str());
        let (namespace, _) = config.checked_names().expect("the defaults are names");
        let nats = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| NEVER)
            .connect(NOWHERE)
            .await
            .expect("nothing is waited for");
        let (targets, _) = Targets::new(Protection::default());
        let inner = Connection {
            jetstream: jetstream(&nats),
            nats,
            namespace,
            requester: Requester::of(&name),
            replies: Replies::default(),
            timeout: config.timeout,
            clock: ServerClock::default(),
            targets,
            payloads: PayloadLimits::of(&config),
            packs: config.packs,
            history: History::new(config.history),
            durability: config.durability.clone(),
            connected: watch::channel(0).1,
            denials: Denials::default(),
            setup: Setup::Ensure,
            topology: config.topology.clone(),
            display_url: "script".to_owned(),
            shared: Shared::default(),
            lifelines: Lifelines::to(&config),
            script: Some(script),
        };
        Self {
            name,
            inner: Arc::new(inner),
            outbox: None,
        }
    }

    /// Sends a command and waits for its result.
    ///
    /// Durable unless [`SendCommand::realtime`] is chosen: once stored it survives every crash and waits
    /// for an instance of the target. Nothing is sent before the returned value is awaited.
    pub fn send_command<R>(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SendCommand<R> {
        SendCommand::new(self.clone(), target, action, &parameters)
    }

    /// Calls a typed action; otherwise as [`Client::send_command`].
    pub fn call<P: Serialize, R>(&self, action: Action<P, R>, parameters: &P) -> SendCommand<R> {
        self.send_command(action.agent(), action.name(), parameters)
    }

    /// Hands a command over: done once it is stored. The runtime retries it, and keeps its outcome.
    ///
    /// Neither the target's circuit breaker nor its rate limit is asked: nobody waits for an answer, so the command waits in
    /// the queue until the target is there and has room.
    pub fn submit_command(
        &self,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> SubmitCommand {
        SubmitCommand::new(self.clone(), target, action, &parameters)
    }

    /// Hands many commands over at once, in packs where they are quick work; each has its own result, in their order.
    ///
    /// ```no_run
    /// # async fn example(client: mcp_runtime::Client) -> Result<(), mcp_runtime::SendError> {
    /// let scenes = (0..500).map(|scene| client.submit_command("visual_agent", "render", scene));
    /// for submitted in client.submit_many(scenes).await {
    ///     println!("{}", submitted?.id());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn submit_many(
        &self,
        commands: impl IntoIterator<Item = SubmitCommand>,
    ) -> Vec<Result<Submitted, SendError>> {
        submit::submit_many(self, commands).await
    }

    /// The outcome record of an idempotency key, or of a submitted command's id; `None` while nobody has
    /// begun with it.
    ///
    /// # Errors
    /// When a name is not valid or the server cannot be reached.
    pub async fn outcome(
        &self,
        agent: &str,
        action: &str,
        key: &str,
    ) -> Result<Option<OutcomeRecord>, SendError> {
        let name = |text| {
            Name::new(text).map_err(|error| SendError::Invalid {
                reason: error.to_string(),
            })
        };
        submit::find(self, &name(agent)?, &name(action)?, key).await
    }

    /// Cancels a command, running or still queued; its reply is the error `CANCELLED`.
    ///
    /// # Errors
    /// When the agent's name is not valid or the server cannot be reached.
    pub async fn cancel(&self, agent: &str, command_id: &str) -> Result<(), SendError> {
        let agent = Name::new(agent).map_err(|error| SendError::Invalid {
            reason: error.to_string(),
        })?;
        let refusals = self.denials().listen();
        let sent = cancel::cancel(self, &agent, command_id).await;
        sent.map_err(|error| SendError::Transport {
            reason: error.to_string(),
        })?;
        let refused = cancel::unless_refused(self, refusals, &agent).await;
        refused.map_err(|denied| SendError::PermissionDenied {
            subject: denied.subject,
        })
    }

    /// The circuit breakers of all agents that this connection has sent to.
    #[must_use]
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        self.inner.targets.breakers()
    }

    /// Opens the circuit breaker of an agent, or of one of its actions, for so long (at most a day, which is also what
    /// `None` means): commands to it are refused with `CIRCUIT_OPEN`. After that it is half-open.
    ///
    /// # Errors
    /// When a name is not valid, or there are too many breakers of actions.
    pub fn force_open(
        &self,
        target: &str,
        action: Option<&str>,
        time: Option<Duration>,
    ) -> Result<(), SendError> {
        let (target, action) = breaker_names(target, action)?;
        let targets = &self.inner.targets;
        match targets.force_open(&self.name, &target, action.as_ref(), time) {
            true => Ok(()),
            false => Err(SendError::Invalid {
                reason: "there are too many breakers of single actions".to_owned(),
            }),
        }
    }

    /// Closes the circuit breaker of an agent with those of its actions, or of one action, and forgets what it counted.
    ///
    /// # Errors
    /// When a name is not valid.
    pub fn reset_breaker(&self, target: &str, action: Option<&str>) -> Result<(), SendError> {
        let (target, action) = breaker_names(target, action)?;
        let targets = &self.inner.targets;
        targets.reset_breaker(&self.name, &target, action.as_ref());
        Ok(())
    }

    /// The last messages that this client, its clones and its agent have sent and received, oldest first, at most so many.
    ///
    /// How many are kept says [`Config::history`].
    #[must_use]
    pub fn history(&self, most: usize) -> Vec<PastMessage> {
        self.inner.history.last(most)
    }

    /// Asks the instances of an agent for their last messages, `limit` of each at most, and waits until `expected` instances
    /// have answered or 2 s have passed.
    ///
    /// # Errors
    /// When the name is not valid or the question cannot be sent.
    pub async fn history_of(
        &self,
        agent: &str,
        limit: usize,
        expected: usize,
    ) -> Result<Vec<InstanceHistory>, SendError> {
        let agent = Name::new(agent).map_err(|error| SendError::Invalid {
            reason: error.to_string(),
        })?;
        history::ask(self, &agent, limit, expected).await
    }

    /// Publishes an event under this client's name; done when the server has stored it.
    ///
    /// # Errors
    /// When the name or the data is not valid or the server does not store.
    pub async fn publish(&self, event: &str, data: impl Serialize) -> Result<(), PublishError> {
        self.publish_event(&self.event(event, data)?).await
    }

    /// Puts an event together under this client's name, for [`Client::publish_event`].
    ///
    /// # Errors
    /// When the name or the data is not valid.
    pub fn event(&self, name: &str, data: impl Serialize) -> Result<Event, PublishError> {
        let invalid = |reason: String| PublishError::Invalid { reason };
        let name = Name::new(name).map_err(|error| invalid(error.to_string()))?;
        let data = Raw::encode(&data).map_err(|error| invalid(error.to_string()))?;
        Ok(Event::new(self.name.clone(), name, data))
    }

    /// Publishes an event that was put together by the caller.
    ///
    /// # Errors
    /// When the server does not store.
    pub async fn publish_event(&self, event: &Event) -> Result<(), PublishError> {
        events::publish(self, event, &TraceContext::current()).await
    }

    /// As [`Client::publish_event`], continuing a trace.
    ///
    /// # Errors
    /// When the server does not store.
    pub async fn publish_event_in(
        &self,
        event: &Event,
        trace: &TraceContext,
    ) -> Result<(), PublishError> {
        events::publish(self, event, trace).await
    }

    /// The same connection under another name, which becomes the `source` of what is sent.
    #[must_use]
    pub fn named(&self, name: Name) -> Self {
        Self {
            name,
            inner: Arc::clone(&self.inner),
            outbox: self.outbox.clone(),
        }
    }

    /// What this client calls itself.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The namespace it works in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// The server's address, without credentials.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.inner.display_url
    }

    /// The NATS connection, for what this crate does not cover.
    #[must_use]
    pub fn nats(&self) -> &async_nats::Client {
        &self.inner.nats
    }

    /// The JetStream context, for what this crate does not cover.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    /// What another crate keeps beside this connection, one value of each type; made when it is first asked for. It must
    /// not hold a client: neither would ever be dropped.
    #[must_use]
    pub fn shared<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut shared = self
            .inner
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let value = shared
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::<T>::default());
        // The key says of which type it is.
        Arc::clone(value)
            .downcast()
            .unwrap_or_else(|_| Arc::default())
    }

    /// Waits until everything published so far has left for the server, at most two seconds.
    pub async fn flush(&self) {
        // A flush fails only when the connection is closed: then there is nothing left to wait for. While the
        // server is away it would wait for ever.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, self.inner.nats.flush()).await;
    }

    /// Sends what waits in the outbox, until the last client is dropped.
    fn empty(&self, outbox: Outbox) -> Arc<EmptiedOutbox> {
        let stop = CancellationToken::new();
        // This clone holds no outbox itself: it would keep its own task alive.
        let (client, emptied, told) = (self.clone(), outbox.clone(), stop.clone());
        tokio::spawn(async move { emptied.drain(&client, &told).await });
        Arc::new(EmptiedOutbox {
            outbox,
            _stop: stop.drop_guard(),
        })
    }

    /// The outbox, where there is one.
    #[must_use]
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref().map(|emptied| &emptied.outbox)
    }

    pub(crate) fn script(&self) -> Option<&Arc<dyn Script>> {
        self.inner.script.as_ref()
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.inner.denials
    }

    pub(crate) fn durability(&self) -> &DurabilityTable {
        &self.inner.durability
    }

    pub(crate) fn requester(&self) -> &Requester {
        &self.inner.requester
    }

    pub(crate) fn replies(&self) -> &Replies {
        &self.inner.replies
    }

    pub(crate) fn default_timeout(&self) -> Duration {
        self.inner.timeout
    }

    pub(crate) fn clock(&self) -> &ServerClock {
        &self.inner.clock
    }

    /// How large bodies may be.
    pub(crate) fn payload_limits(&self) -> PayloadLimits {
        self.inner.payloads
    }

    /// Whether commands may be packed.
    pub(crate) fn packs(&self) -> bool {
        self.inner.packs
    }

    pub(crate) fn note(&self, note: Note<'_>) {
        self.inner.history.note(note);
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.inner.targets
    }

    pub(crate) fn target(&self, name: &Name) -> Arc<Target> {
        self.inner.targets.of(name)
    }

    /// The connection for signs of life, which all workers of this one share.
    pub(crate) async fn lifeline(&self) -> Result<Arc<Lifeline>, String> {
        self.inner.lifelines.open(&self.name).await
    }

    /// The streams and buckets that there are to be.
    pub(crate) fn topology(&self) -> &TopologyConfig {
        &self.inner.topology
    }

    /// Whether streams and consumers are created here; if not, an administrator has made them.
    #[must_use]
    pub fn may_create(&self) -> bool {
        self.inner.setup == Setup::Ensure
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.inner.nats.connection_state() == async_nats::connection::State::Connected
    }

    /// Counts the connections made so far; a change means that the server has forgotten our pulls.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        let mut connections = self.inner.connected.clone();
        // The connection that there is now is no change.
        connections.mark_unchanged();
        connections
    }
}

impl Publisher for Client {
    fn nats(&self) -> &async_nats::Client {
        &self.inner.nats
    }

    fn denials(&self) -> &Denials {
        &self.inner.denials
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.inner.display_url)
            .field("name", &self.name)
            .finish()
    }
}

fn breaker_names(target: &str, action: Option<&str>) -> Result<(Name, Option<Name>), SendError> {
    let name = |text| {
        Name::new(text).map_err(|error| SendError::Invalid {
            reason: error.to_string(),
        })
    };
    Ok((name(target)?, action.map(name).transpose()?))
}

impl Config {
    /// Opens a bare connection with this configuration's identity: for tools that speak to the server itself, where there is
    /// no JetStream.
    ///
    /// # Errors
    /// When no server answers, or it refuses the credentials.
    pub async fn open(&self) -> Result<async_nats::Client, ConnectError> {
        let (_, name) = self.checked_names()?;
        let (connected, _) = watch::channel(0);
        open(self, &name, Arc::new(connected), Denials::default()).await
    }
}

/// The JetStream context of a connection.
pub(crate) fn jetstream(nats: &async_nats::Client) -> jetstream::Context {
    jetstream::context::ContextBuilder::new()
        .timeout(Duration::from_secs(10))
        .backpressure_on_inflight(false)
        .build(nats.clone())
}

/// Opens a connection, and counts in `connected` how often it was made.
pub(crate) async fn open(
    config: &Config,
    name: &Name,
    connected: Arc<watch::Sender<u64>>,
    denials: Denials,
) -> Result<async_nats::Client, ConnectError> {
    let identity = config.checked_identity()?;
    let options = config.identity.options().await?;
    let mut options = options
        .name(name.as_str())
        // An inbox under the own name: rights can be given for it alone.
        .custom_inbox_prefix(format!("_INBOX_{identity}"))
        .connection_timeout(config.connect_timeout)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            note(&event, &connected, &denials);
            std::future::ready(())
        });
    // The library leaves what stands in the URL to its caller.
    options = match config.user_info() {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    // Without what stands before the host: the library logs addresses whole.
    let servers = config.display_url();
    let servers: Vec<&str> = servers.split(',').collect();
    options.connect(servers).await.map_err(|source| {
        let url = config.display_url();
        match source.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                ConnectError::Refused { url, source }
            }
            _ => ConnectError::Unreachable { url, source },
        }
    })
}

/// Two may stay unanswered: who is behind a black hole turns to another server within 15 s.
const PING: Duration = Duration::from_secs(5);

/// The library's own delays grow to 4 s; a restarted server is back sooner.
fn reconnect_delay(attempts: usize) -> Duration {
    Duration::from_millis(match attempts {
        0 | 1 => 20,
        2..=10 => 100,
        _ => 500,
    })
}

fn note(event: &ConnectionEvent, connected: &watch::Sender<u64>, denials: &Denials) {
    match event {
        ConnectionEvent::Connected => {
            connected.send_modify(|count| *count += 1);
            tracing::info!("connected to the server");
        }
        ConnectionEvent::Disconnected => {
            tracing::warn!("connection to the server lost, reconnecting")
        }
        ConnectionEvent::SlowConsumer(_) => {
            tracing::warn!("a subscription is full, messages of core subjects are dropped");
        }
        ConnectionEvent::ServerError(error) if denials.note(&error.to_string()) => {
            tracing::warn!(%error, "the server refused a subject");
        }
        ConnectionEvent::ServerError(error) => {
            tracing::warn!(%error, "the server reports an error")
        }
        ConnectionEvent::ClientError(error) => {
            tracing::debug!(%error, "the connection reports an error")
        }
        other => tracing::debug!(event = %other, "the connection changed"),
    }
}
