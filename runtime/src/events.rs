//! Events: published into a stream, received by durable subscriptions.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message};
use futures_util::FutureExt;
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    client::Client,
    dead_letter::{Autopsy, DeadLetter},
    error::{PublishError, ReceiveError},
    history::{Direction, Note, PastKind},
    message::{Event, Format, McpError, Name, Namespace, code},
    payload::{self, PayloadError},
    provenance,
    receive::{Consumption, Delivered, DeliveryInfo, Lease, Worker},
    store::{self, Outgoing, StoreError},
    telemetry::{Arrival, Ending, Processing, Publishing},
    topology::{self, EventConsumer, Start},
    trace::TraceContext,
};

/// The delay before an event that failed comes again; doubles with each failure.
const BASE_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Stores an event.
pub(crate) async fn publish(
    client: &Client,
    event: &Event,
    trace: &TraceContext,
) -> Result<(), PublishError> {
    publish_in(client, event, &event.id, trace).await
}

/// Stores an event under a message id that others may use for the same event.
pub(crate) async fn publish_as(
    client: &Client,
    event: &Event,
    message_id: &str,
    trace: &TraceContext,
) -> Result<(), PublishError> {
    publish_in(client, event, message_id, trace).await
}

async fn publish_in(
    client: &Client,
    event: &Event,
    message_id: &str,
    trace: &TraceContext,
) -> Result<(), PublishError> {
    if let Some(script) = client.script() {
        script.event(event, message_id).await;
        return Ok(());
    }
    let subject = client.namespace().event(&event.source, &event.name);
    let mut trace = trace.clone();
    let publishing = Publishing::event(client, &subject, event, &mut trace);
    let body = Format::default()
        .encode(event)
        .map_err(|error| PublishError::Invalid {
            reason: error.to_string(),
        })?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", message_id);
    headers.insert("Content-Type", Format::default().content_type());
    publishing.headers_of(&trace).inject(&mut headers);
    let deadline = Instant::now() + client.default_timeout().min(Duration::from_secs(90));
    let body = payload::check_in(client, &event.id, body, &mut headers)
        .await
        .map_err(|error| match error {
            PayloadError::TooLarge { size, limit } => PublishError::TooLarge {
                size: usize::try_from(size).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            PayloadError::Denied { subject } => PublishError::PermissionDenied { subject },
            error => PublishError::Transport {
                reason: error.to_string(),
            },
        })?;
    let outgoing = Outgoing {
        subject,
        headers,
        body,
    };
    publishing.sends(&outgoing);
    let began = Instant::now();
    let stored = store::store(client, &outgoing, deadline).await;
    publishing.stored(&stored);
    let stored = stored.map(drop).map_err(|error| match error {
        StoreError::TooLarge { size, limit } => PublishError::TooLarge { size, limit },
        StoreError::Denied { subject } => PublishError::PermissionDenied { subject },
        other => PublishError::Transport {
            reason: other.to_string(),
        },
    });
    client.note(Note {
        direction: Direction::Sent,
        kind: PastKind::Event,
        peer: &event.source,
        name: &event.name,
        id: &event.id,
        attempt: 1,
        error: (stored.as_ref().err()).map(|error| error.code().to_owned()),
        took: began.elapsed(),
    });
    stored
}

/// An event as a subscriber gets it.
#[derive(Clone)]
#[non_exhaustive]
pub struct EventDelivery {
    /// The event.
    pub event: Arc<Event>,
    /// 1 when it is delivered for the first time.
    pub delivery: u64,
    /// Fires when the lease is lost or the subscription stops.
    pub cancelled: CancellationToken,
    /// The trace that the event belongs to.
    pub trace: TraceContext,
}

/// What a subscriber does with an event.
pub trait EventHandler: Send + Sync + 'static {
    /// Handles one event. A temporary error brings it back later, a permanent one puts it among the
    /// dead letters.
    fn call(
        &self,
        delivery: EventDelivery,
    ) -> Pin<Box<dyn Future<Output = Result<(), McpError>> + Send>>;
}

/// A durable subscription of an agent; its instances share it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EventSubscriptionConfig {
    /// The subscription's name, unique in the agent.
    pub name: Name,
    /// The agent whose events are wanted; `None` for all agents.
    pub source: Option<Name>,
    /// The event that is wanted; `None` for all.
    pub event: Option<Name>,
    /// Where a new subscription begins (default with the next event).
    pub start: Start,
    /// Handlers that may run at once, at least 1 (default 16).
    pub concurrency: u32,
    /// How often an event that fails comes again before it is put among the dead letters (default 10).
    pub max_retries: u32,
}

impl EventSubscriptionConfig {
    /// The defaults.
    #[must_use]
    pub fn new(name: Name, source: Option<Name>, event: Option<Name>) -> Self {
        Self {
            name,
            source,
            event,
            start: Start::New,
            concurrency: 16,
            max_retries: 10,
        }
    }

    fn subject(&self, namespace: &Namespace) -> String {
        let token = |name: &Option<Name>| name.as_ref().map_or("*", Name::as_str).to_owned();
        format!(
            "{namespace}.evt.{}.{}",
            token(&self.source),
            token(&self.event)
        )
    }
}

/// A running subscription; dropping it stops it at once.
pub struct EventSubscription {
    pulling: Consumption,
    _abandon: DropGuard,
}

impl EventSubscription {
    /// Begins to receive, on behalf of a worker.
    ///
    /// # Errors
    /// When the consumer cannot be created or exists with other settings.
    pub async fn start(
        worker: &Worker,
        config: EventSubscriptionConfig,
        handler: Arc<dyn EventHandler>,
    ) -> Result<Self, ReceiveError> {
        let client = worker.client().clone();
        let namespace = client.namespace();
        let subject = config.subject(namespace);
        if client.may_create() {
            let wanted = EventConsumer {
                agent: client.name().as_str(),
                subscription: config.name.as_str(),
                subjects: &[subject],
                start: config.start,
            };
            topology::ensure_event_consumer(client.jetstream(), namespace.as_str(), wanted).await?;
        }
        let consumer = Namespace::event_consumer(client.name(), &config.name);
        let stream = namespace.events_stream();
        let abandon = CancellationToken::new();
        let receiving = Receiving {
            max_retries: config.max_retries,
            abandon: abandon.clone(),
            client,
            handler,
        };
        let concurrency = config.concurrency.max(1) as usize;
        let pulling =
            Consumption::start(worker, &stream, &consumer, concurrency, move |delivered| {
                let receiving = receiving.clone();
                async move { receiving.receive(delivered).await }
            });
        Ok(Self {
            pulling: pulling.await?,
            _abandon: abandon.drop_guard(),
        })
    }

    /// Asks for nothing more and lets what runs come to its end within `grace`.
    pub async fn drain(self, grace: Duration) {
        self.pulling.drain(grace).await;
    }
}

#[derive(Clone)]
struct Receiving {
    client: Client,
    handler: Arc<dyn EventHandler>,
    max_retries: u32,
    abandon: CancellationToken,
}

impl Receiving {
    async fn receive(&self, delivered: Delivered) {
        let processing = Processing::event(&Arrival {
            client: &self.client,
            message: &delivered.message,
            deliveries: delivered.info.deliveries,
            members: None,
        });
        let scope = processing.scope();
        let taking = Box::pin(self.take_through(delivered, processing));
        scope.run(taking).await;
    }

    async fn take_through(&self, delivered: Delivered, processing: Processing) {
        let Delivered {
            message,
            info,
            lease,
        } = delivered;
        let outcome = match self.read(&message).await {
            Ok(event) => {
                let (event, began) = (Arc::new(event), Instant::now());
                let outcome = self.handle(&processing, &event, &info, &lease).await;
                if let Some(outcome) = &outcome {
                    self.note(&event, &info, outcome, began.elapsed());
                }
                outcome
            }
            Err(error) => Some(Err(error)),
        };
        match outcome {
            Some(Ok(())) => {
                processing.ends(Ending::Ok);
                lease.acknowledge().await;
            }
            Some(Err(error)) => {
                processing.fails(Ending::Error, &error.code);
                self.fail(&message, &info, lease, error).await;
            }
            // Left to whoever has it now.
            None => {}
        }
    }

    async fn read(&self, message: &Message) -> Result<Event, McpError> {
        if let Some(reason) = provenance::borrowed(message, "-") {
            return Err(McpError::permanent(code::INVALID_MESSAGE)
                .message(format!("nobody shows the right to publish this: {reason}")));
        }
        let claimed =
            payload::check_out(&self.client, message.headers.as_ref(), &message.payload).await;
        let claimed = claimed.map_err(|error| error.to_mcp_error())?;
        let body = claimed.as_ref().unwrap_or(&message.payload);
        Format::of_message(message)
            .and_then(|format| Event::decode(format, body))
            .map_err(|error| {
                McpError::permanent(code::INVALID_MESSAGE)
                    .message(format!("no version 1 event: {error}"))
            })
    }

    async fn handle(
        &self,
        processing: &Processing,
        event: &Arc<Event>,
        info: &DeliveryInfo,
        lease: &Lease,
    ) -> Option<Result<(), McpError>> {
        processing.reads_event(event);
        let cancelled = CancellationToken::new();
        let delivery = EventDelivery {
            event: Arc::clone(event),
            delivery: info.deliveries,
            cancelled: cancelled.clone(),
            trace: processing.trace().clone(),
        };
        let handling = async { self.handler.call(delivery).await };
        tokio::select! {
            ended = AssertUnwindSafe(handling).catch_unwind() => Some(ended.unwrap_or_else(|_| {
                Err(McpError::temporary(code::HANDLER_PANICKED).message("the event handler panicked"))
            })),
            () = lease.lost().cancelled() => { cancelled.cancel(); None }
            () = self.abandon.cancelled() => { cancelled.cancel(); None }
        }
    }

    fn note(
        &self,
        event: &Event,
        info: &DeliveryInfo,
        outcome: &Result<(), McpError>,
        took: Duration,
    ) {
        self.client.note(Note {
            direction: Direction::Received,
            kind: PastKind::Event,
            peer: &event.source,
            name: &event.name,
            id: &event.id,
            attempt: u32::try_from(info.deliveries).unwrap_or(u32::MAX),
            error: outcome.as_ref().err().map(|error| error.code.clone()),
            took,
        });
    }

    async fn fail(&self, message: &Message, info: &DeliveryInfo, lease: Lease, error: McpError) {
        let retries = u64::from(error.max_retries.unwrap_or(u32::MAX).min(self.max_retries));
        if error.is_temporary() && info.deliveries <= retries {
            tracing::debug!(
                code = error.code,
                delivery = info.deliveries,
                "an event handler failed, the event comes again"
            );
            return lease
                .give_back(delay(info.deliveries, error.retry_delay))
                .await;
        }
        let mut tokens = message.subject.rsplit('.');
        let name = tokens.next().unwrap_or("unknown").to_owned();
        let attempts = u32::try_from(info.deliveries).unwrap_or(u32::MAX);
        let autopsy = Autopsy {
            reason: error.code.clone(),
            attempts,
            errors: vec![error],
        };
        let letter =
            DeadLetter::of(message, info, &autopsy).under(&self.client, self.client.name(), &name);
        match letter.store(&self.client).await {
            Ok(()) => lease.terminate().await,
            Err(error) => {
                tracing::error!(%error, "a dead letter could not be stored, the event comes again")
            }
        }
    }
}

/// Exponential with full jitter; never sooner than the handler advised.
fn delay(failures: u64, advised: Option<Duration>) -> Duration {
    let exponent = u32::try_from(failures.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(20);
    let ceiling = BASE_DELAY.saturating_mul(1 << exponent).min(MAX_DELAY);
    ceiling
        .mul_f64(rand::rng().random_range(0.0..=1.0))
        .max(advised.unwrap_or_default())
}
