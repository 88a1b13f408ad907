//! The consumers of agents, engines and subscriptions: what they have to be like follows from their names.

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{self, DeliverPolicy, IntoConsumerConfig};
use serde::Deserialize;
use serde_json::json;

use super::{Deed, TopologyError, UpgradePlan, merge};
use crate::topology::apply::{ask, label};
use crate::topology::compare::consumer_differences;
use crate::topology::consumer::{LANES, create_subject, durable};
use crate::topology::words::filters;

/// Pages of a list of consumers that are read; at the server's 256 a page, a quarter of a million of them.
const PAGES: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    total: usize,
    #[serde(default)]
    consumers: Vec<consumer::Info>,
}

/// Plans the changes to all consumers of these streams that are ours.
pub(super) async fn plan(
    context: &Context,
    namespace: &str,
    streams: &[String],
    plan: &mut UpgradePlan,
) -> Result<(), TopologyError> {
    for stream in streams {
        let Some(kind) = Kind::of(namespace, stream) else {
            continue;
        };
        for found in list(context, stream).await? {
            let Some(wanted) = kind.wanted(namespace, &found) else {
                continue;
            };
            let differences = consumer_differences(&wanted, &found.config);
            let merged = merge::consumer(&wanted, &found.config, &differences);
            let object = format!("consumer `{}` of stream `{stream}`", found.name);
            plan.keep(object, merged, |config| {
                Deed::UpdateConsumer(stream.clone(), config)
            });
        }
    }
    Ok(())
}

pub(super) async fn update(
    context: &Context,
    stream: &str,
    config: &consumer::Config,
    object: &str,
) -> Result<(), TopologyError> {
    let name = config.durable_name.as_deref().unwrap_or_default();
    let request = json!({ "stream_name": stream, "config": config, "action": "update" });
    let subject = create_subject(stream, name, config);
    let answer = ask::<consumer::Info>(context, subject, &request, || object.to_owned()).await?;
    answer.map(drop).map_err(|source| TopologyError::Refused {
        object: object.to_owned(),
        source,
    })
}

async fn list(context: &Context, stream: &str) -> Result<Vec<consumer::Info>, TopologyError> {
    let mut all = Vec::new();
    for _ in 0..PAGES {
        let subject = format!("CONSUMER.LIST.{stream}");
        let request = json!({ "offset": all.len() });
        let page = ask::<Page>(context, subject, &request, || label(stream)).await?;
        let page = page.map_err(|source| TopologyError::Refused {
            object: label(stream),
            source,
        })?;
        let last = page.consumers.is_empty();
        all.extend(page.consumers);
        if last || all.len() >= page.total {
            break;
        }
    }
    Ok(all)
}

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Lanes,
    Tasks(&'a str),
    Events,
}

impl<'a> Kind<'a> {
    fn of(namespace: &str, stream: &'a str) -> Option<Self> {
        match stream.strip_prefix(namespace)?.strip_prefix('_')? {
            "commands" => Some(Self::Lanes),
            "events" => Some(Self::Events),
            other => other.strip_prefix("tasks_").map(Self::Tasks),
        }
    }

    /// What a consumer of this name has to be like; `None` when it is somebody else's.
    fn wanted(self, namespace: &str, found: &consumer::Info) -> Option<consumer::Config> {
        let name = &found.name;
        let (filters, start) = match self {
            Self::Lanes => {
                let (agent, lane) = name.rsplit_once('_')?;
                LANES.contains(&lane).then_some(())?;
                let filter = format!("{namespace}.cmd.{agent}.{lane}.>");
                (vec![filter], DeliverPolicy::All)
            }
            Self::Tasks(shard) => {
                let (definition, kind) = name.rsplit_once('_')?;
                ["start", "control"].contains(&kind).then_some(())?;
                let filter = format!("{namespace}.wf.{definition}.{shard}.{kind}.>");
                (vec![filter], DeliverPolicy::All)
            }
            // Where a subscription began and what it hears is the subscriber's own.
            Self::Events => {
                name.contains("_evt_").then_some(())?;
                (filters(&found.config), found.config.deliver_policy)
            }
        };
        Some(durable(name.clone(), filters, start).into_consumer_config())
    }
}
