//! The durable consumers: one per lane of an agent, one per event subscription.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::{Context, ErrorCode};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::TopologyError;
use super::apply::{ROUNDS, ask};
use super::compare::consumer_differences;

/// The lease of a delivered message. In-progress acks keep it, so it is only as long as a dead worker may go unnoticed.
const ACK_WAIT: Duration = Duration::from_secs(10);

/// Messages out at once to all replicas of an agent, delayed ones included. Below some thousands it limits the rate.
const MAX_ACK_PENDING: i64 = 10_000;

pub(super) const LANES: [&str; 4] = ["critical", "high", "normal", "low"];

/// Where a new subscription begins. One that exists goes on where it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    New,
    /// With the oldest event that is kept.
    All,
    /// With the first event stored at or after this time, by the server's clock.
    Since(SystemTime),
}

/// A durable subscription to events.
#[derive(Debug, Clone, Copy)]
pub struct EventConsumer<'a> {
    /// The agent that subscribes; its replicas share the subscription.
    pub agent: &'a str,
    /// The subscription's name, unique in the agent.
    pub subscription: &'a str,
    /// The subjects of the events, without overlaps.
    pub subjects: &'a [String],
    /// Where it begins when it is new.
    pub start: Start,
}

/// Creates or checks the four lane consumers of an agent, in one round trip when they are there.
///
/// # Errors
/// As [`ensure`](super::ensure).
pub async fn ensure_agent(
    context: &Context,
    namespace: &str,
    agent: &str,
) -> Result<(), TopologyError> {
    let commands = &format!("{namespace}_commands");
    let lane_consumer = |lane| {
        let filter = format!("{namespace}.cmd.{agent}.{lane}.>");
        durable(format!("{agent}_{lane}"), vec![filter], DeliverPolicy::All)
    };
    stream::iter(LANES.map(lane_consumer))
        .map(|wanted| ensure_consumer(context, commands, wanted))
        .buffered(LANES.len())
        .try_collect()
        .await
}

/// Creates or checks the consumer of an event subscription.
///
/// # Errors
/// As [`ensure`](super::ensure). The time of [`Start::Since`] is not compared: it says only where a new subscription
/// begins.
pub async fn ensure_event_consumer(
    context: &Context,
    namespace: &str,
    wanted: EventConsumer<'_>,
) -> Result<(), TopologyError> {
    let name = format!("{}_evt_{}", wanted.agent, wanted.subscription);
    let start = match wanted.start {
        Start::New => DeliverPolicy::New,
        Start::All => DeliverPolicy::All,
        Start::Since(time) => DeliverPolicy::ByStartTime {
            start_time: time.into(),
        },
    };
    ensure_consumer(
        context,
        &format!("{namespace}_events"),
        durable(name, wanted.subjects.to_vec(), start),
    )
    .await
}

/// Creates or checks the two consumers of a workflow definition in one shard: of starts, and of everything else, so
/// that a stop never queues behind ten thousand starts.
///
/// # Errors
/// As [`ensure`](super::ensure).
pub async fn ensure_workflow(
    context: &Context,
    namespace: &str,
    definition: &str,
    shard: u16,
) -> Result<(), TopologyError> {
    let tasks = &format!("{namespace}_tasks_{shard}");
    let consumer = |kind: &str| {
        let filter = format!("{namespace}.wf.{definition}.{shard}.{kind}.>");
        durable(
            format!("{definition}_{kind}"),
            vec![filter],
            DeliverPolicy::All,
        )
    };
    stream::iter(["start", "control"].map(consumer))
        .map(|wanted| ensure_consumer(context, tasks, wanted))
        .buffered(2)
        .try_collect()
        .await
}

/// Looks whether consumers are there that somebody else has to have made. A server that does not answer is no error here:
/// whoever pulls will find out.
///
/// # Errors
/// [`TopologyError::Missing`] for the first that is not there.
pub(crate) async fn expect_consumers(
    context: &Context,
    stream: &str,
    names: &[String],
) -> Result<(), TopologyError> {
    for name in names {
        let object = || format!("consumer `{name}` of stream `{stream}`");
        let subject = format!("CONSUMER.INFO.{stream}.{name}");
        match ask::<consumer::Info>(context, subject, &json!({}), object).await {
            Ok(Err(error)) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {
                return Err(TopologyError::Missing { object: object() });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a consumer could not be looked for"),
        }
    }
    Ok(())
}

pub(super) fn durable(
    name: String,
    mut filters: Vec<String>,
    start: DeliverPolicy,
) -> pull::Config {
    let single = if filters.len() == 1 {
        filters.pop()
    } else {
        None
    };
    pull::Config {
        durable_name: Some(name),
        deliver_policy: start,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: MAX_ACK_PENDING,
        // Unlimited: a message past the server's limit would stay in the stream, invisible to every count. The
        // receiver counts deliveries itself. No server backoff either: it would override the ack wait.
        max_deliver: -1,
        filter_subject: single.unwrap_or_default(),
        filter_subjects: filters,
        ..pull::Config::default()
    }
}

/// Creates a durable consumer if it is missing, and refuses one with other settings.
async fn ensure_consumer(
    context: &Context,
    stream: &str,
    wanted: pull::Config,
) -> Result<(), TopologyError> {
    let wanted = wanted.into_consumer_config();
    let name = wanted.durable_name.as_deref().unwrap_or_default();
    let object = || format!("consumer `{name}` of stream `{stream}`");
    for _ in 0..ROUNDS {
        match ask::<consumer::Info>(
            context,
            format!("CONSUMER.INFO.{stream}.{name}"),
            &json!({}),
            object,
        )
        .await?
        {
            Ok(info) => return check_consumer(&wanted, &info.config, stream, name),
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
            Err(source) => {
                return Err(TopologyError::Refused {
                    object: object(),
                    source,
                });
            }
        }
        let request = json!({ "stream_name": stream, "config": &wanted, "action": "create" });
        match ask::<consumer::Info>(
            context,
            create_subject(stream, name, &wanted),
            &request,
            object,
        )
        .await?
        {
            Ok(info) => {
                tracing::info!(stream, consumer = name, "consumer created");
                return check_consumer(&wanted, &info.config, stream, name);
            }
            // Another replica of the agent was faster: look again.
            Err(error) if error.error_code() == ErrorCode::CONSUMER_ALREADY_EXISTS => {}
            Err(source) => {
                return Err(TopologyError::Refused {
                    object: object(),
                    source,
                });
            }
        }
    }
    Err(TopologyError::Unstable { object: object() })
}

fn check_consumer(
    wanted: &consumer::Config,
    found: &consumer::Config,
    stream: &str,
    name: &str,
) -> Result<(), TopologyError> {
    let differences = consumer_differences(wanted, found);
    if differences.is_empty() {
        return Ok(());
    }
    let object = format!("consumer `{name}` of stream `{stream}`");
    let remedy = format!(
        "bring it up to date with `mcpctl setup --upgrade`, change it with `nats consumer edit {stream} {name}`, or use another name or another namespace"
    );
    Err(TopologyError::Differs {
        object,
        differences,
        remedy,
    })
}

/// The server wants a single filter in the subject too: accounts restrict by it who may create which consumer.
pub(super) fn create_subject(stream: &str, name: &str, wanted: &consumer::Config) -> String {
    match wanted.filter_subject.as_str() {
        "" => format!("CONSUMER.CREATE.{stream}.{name}"),
        filter => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
    }
}
