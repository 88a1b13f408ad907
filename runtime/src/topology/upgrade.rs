//! Bringing what exists up to what this program needs: what can be changed without losing anything is changed, the rest
//! is refused.
//!
//! All is planned before anything is done: when one thing is refused, nothing has been changed. `merge` says what is
//! safe; `consumers` does the same for consumers.

mod consumers;
mod merge;

use async_nats::jetstream::{Context, ErrorCode, consumer, stream};
use serde_json::json;

use super::apply::{ask, fetch_or_create, label};
use super::compare::{Difference, hardening, stream_differences, version_difference};
use super::spec::{self, StreamSpec};
use super::{Topology, TopologyConfig, TopologyError, ensure};

/// What stands between a namespace and the topology of this program.
#[derive(Debug, Default)]
pub struct UpgradePlan {
    steps: Vec<Step>,
    refusals: Vec<Refusal>,
}

/// One change that loses nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What is changed, with its name.
    pub object: String,
    /// Each setting with what it was and what it becomes; none where the object is new.
    pub differences: Vec<Difference>,
}

/// A difference that cannot be mended in place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// What differs, with its name.
    pub object: String,
    /// The setting that differs.
    pub difference: Difference,
    /// Why it stays, and what an operator can do.
    pub remedy: &'static str,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.difference, self.remedy)
    }
}

#[derive(Debug)]
struct Step {
    change: Change,
    deed: Deed,
}

#[derive(Debug)]
enum Deed {
    Create(Box<StreamSpec>),
    Update(Box<stream::Config>),
    UpdateConsumer(String, Box<consumer::Config>),
}

impl UpgradePlan {
    /// What will be changed, in this order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().map(|step| &step.change)
    }

    /// What differs and cannot be changed in place: while there is any, nothing will be.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Makes the changes, then checks everything.
    ///
    /// # Errors
    /// [`TopologyError::NotUpgradable`] when something is refused: then nothing is changed. Else when the server refuses
    /// or does not answer: what was changed before that stays, and the next upgrade goes on from there.
    pub async fn carry_out(
        self,
        context: &Context,
        config: &TopologyConfig,
    ) -> Result<Topology, TopologyError> {
        if !self.refusals.is_empty() {
            return Err(TopologyError::NotUpgradable {
                refusals: self.refusals,
            });
        }
        for step in self.steps {
            let object = step.change.object;
            match step.deed {
                Deed::Create(spec) => fetch_or_create(context, &spec).await.map(drop)?,
                Deed::Update(config) => update(context, &config, &object).await?,
                Deed::UpdateConsumer(stream, config) => {
                    consumers::update(context, &stream, &config, &object).await?;
                }
            }
            tracing::info!(object, "upgraded");
        }
        ensure(context, config).await
    }

    fn stream(&mut self, spec: StreamSpec, found: Option<&stream::Info>) {
        let object = label(&spec.config.name);
        let Some(found) = found else {
            let change = Change {
                object,
                differences: Vec::new(),
            };
            let deed = Deed::Create(Box::new(spec));
            return self.steps.push(Step { change, deed });
        };
        let mut differences = stream_differences(&spec, &found.config);
        differences.extend(hardening(&spec, &found.config));
        differences.extend(version_difference(&found.config));
        let merged = merge::stream(&spec.config, found, &differences);
        self.keep(object, merged, Deed::Update);
    }

    fn keep<C>(
        &mut self,
        object: String,
        merged: merge::Merged<C>,
        deed: impl FnOnce(Box<C>) -> Deed,
    ) {
        let refused = merged.refused.into_iter();
        self.refusals
            .extend(refused.map(|(difference, remedy)| Refusal {
                object: object.clone(),
                difference,
                remedy,
            }));
        if !merged.changed.is_empty() {
            let change = Change {
                object,
                differences: merged.changed,
            };
            let deed = deed(Box::new(merged.config));
            self.steps.push(Step { change, deed });
        }
    }
}

/// Looks at everything that a namespace has, and plans what to change. Changes nothing.
///
/// # Errors
/// [`TopologyError::Newer`] when a newer program has made or upgraded it; else when the server refuses or does not answer.
pub async fn plan_upgrade(
    context: &Context,
    config: &TopologyConfig,
) -> Result<UpgradePlan, TopologyError> {
    let first = spec::tasks(config, 0, 1);
    let there = info(context, &first.config.name).await?;
    let shards = config
        .workflow_shards
        .or_else(|| spec::shards(&there.as_ref()?.config))
        .unwrap_or(1)
        .max(1);
    let mut plan = UpgradePlan::default();
    let mut queues = Vec::new();
    for spec in spec::all(config, shards) {
        let found = info(context, &spec.config.name).await?;
        if let Some(found) = &found {
            spec::refuse_newer(&label(&found.config.name), &found.config)?;
            queues.push(found.config.name.clone());
        }
        plan.stream(spec, found.as_ref());
    }
    consumers::plan(context, &config.namespace, &queues, &mut plan).await?;
    Ok(plan)
}

async fn info(context: &Context, name: &str) -> Result<Option<stream::Info>, TopologyError> {
    let subject = format!("STREAM.INFO.{name}");
    match ask::<stream::Info>(context, subject, &json!({}), || label(name)).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Err(source) => Err(TopologyError::Refused {
            object: label(name),
            source,
        }),
    }
}

async fn update(
    context: &Context,
    config: &stream::Config,
    object: &str,
) -> Result<(), TopologyError> {
    let subject = format!("STREAM.UPDATE.{}", config.name);
    let answer = ask::<stream::Info>(context, subject, config, || object.to_owned()).await?;
    answer.map(drop).map_err(|source| TopologyError::Refused {
        object: object.to_owned(),
        source,
    })
}
