//! Bringing effects about: events, timers, checkpoints, answers. Each has a derived id, so twice does no harm.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use mcp_runtime::{
    Event, Format, McpError, Name, Raw, Token, code, telemetry,
    transport::{self, StoreError},
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::{Versioned, ended_attempt},
    effect::{Effect, EffectKind, EventEffect},
    failpoint::failpoint,
    record::{WorkflowRecord, WorkflowStatus},
    store::Parked,
    task::{Task, Verb},
};

use super::{
    home::{Home, PAUSE},
    relations, revive,
    settle::{answering, encoded},
    trace::given,
};

/// How often one timer is published when the wait is another each time.
const MOST_CORRECTIONS: u32 = 8;

/// How long one publish is repeated before it is begun anew.
pub(super) const PUBLISH_TIME: Duration = Duration::from_secs(20);

/// The last millisecond of the year 9998.
const LATEST_MS: u64 = 253_370_764_799_999;

/// The effects of one drive that are under way.
pub(super) struct Effects {
    home: Arc<Home>,
    definition: Name,
    running: JoinSet<String>,
    done: Vec<String>,
}

impl Effects {
    pub(super) fn new(home: &Arc<Home>, task: &Task) -> Self {
        Self {
            home: Arc::clone(home),
            definition: task.definition.clone(),
            running: JoinSet::new(),
            done: Vec::new(),
        }
    }

    /// Begins effects of a record as it is now.
    pub(super) fn begin(&mut self, effects: Vec<Effect>, record: &Arc<WorkflowRecord>) {
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            let doing = Doing {
                home: Arc::clone(&self.home),
                definition: self.definition.clone(),
                record: Arc::clone(record),
            };
            let span = tracing::Span::current();
            let done = async move {
                doing.until_done(&effect).await;
                failpoint("engine.effect");
                effect.id
            };
            self.running.spawn(done.instrument(span));
        }
    }

    /// The ids of those that are done since this was last asked.
    pub(super) fn done(&mut self) -> Vec<String> {
        while let Some(done) = self.running.try_join_next() {
            self.done.extend(done.ok());
        }
        std::mem::take(&mut self.done)
    }

    /// Waits until all that were begun are done.
    pub(super) async fn wait(&mut self) {
        while let Some(done) = self.running.join_next().await {
            self.done.extend(done.ok());
        }
    }
}

/// The data of an event of a workflow's life.
#[derive(Serialize)]
struct EventData<'a> {
    workflow_id: &'a str,
    definition: &'a Name,
    epoch: u64,
    state: &'a Name,
    status: WorkflowStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: &'a Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: &'a Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: &'a Option<Name>,
}

#[derive(Clone)]
struct Doing {
    home: Arc<Home>,
    definition: Name,
    record: Arc<WorkflowRecord>,
}

impl Doing {
    /// Until it is done, or the server will never do it. Ended from outside when the lease is lost.
    async fn until_done(&self, effect: &Effect) {
        loop {
            match self.once(effect).await {
                Ok(()) => return,
                Err(error) if is_final(&error) => {
                    tracing::error!(%error, "the server refuses an effect of a workflow");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "an effect of a workflow is not confirmed, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn once(&self, effect: &Effect) -> Result<(), StoreError> {
        match &effect.kind {
            EffectKind::Event(event) => self.publish(event).await,
            EffectKind::Timer {
                entry,
                attempt,
                at_ms,
            } => {
                let timer = Timer {
                    entry: *entry,
                    attempt: *attempt,
                    at_ms: *at_ms,
                };
                // On its own: whoever has published has to look, also when its lease is lost in between.
                let scheduling = self.clone().schedule(timer).in_current_span();
                let scheduled = tokio::spawn(scheduling).await;
                scheduled.unwrap_or_else(|error| {
                    Err(StoreError::Unavailable {
                        reason: error.to_string(),
                    })
                })
            }
            EffectKind::Checkpoint { name, epoch } => {
                self.keep(&WorkflowCheckpoint::of(&self.record, name, *epoch))
                    .await
            }
            EffectKind::DeleteCheckpoint { name } => {
                let id = self.record.id.as_str();
                let epoch = effect.epoch();
                self.home.store.delete_checkpoint(id, name, epoch).await
            }
            EffectKind::StartChildren { children } => {
                relations::start(&self.home, &self.record, children).await
            }
            EffectKind::StopChildren {
                children,
                compensate,
            } => {
                let epoch = effect.epoch();
                relations::stop(&self.home, &self.record, epoch, children, *compensate).await
            }
            EffectKind::TellParent { parent, end } => {
                relations::tell(&self.home, &self.definition, parent, end).await
            }
            EffectKind::AwaitVersion { version } => {
                let parked = Parked {
                    definition: self.definition.clone(),
                    version: version.clone(),
                    workflow_id: self.record.id.clone(),
                };
                revive::await_version(&self.home, &parked, effect.epoch()).await
            }
            EffectKind::Bury { task, error } => {
                relations::bury(&self.home, &self.definition, task, error.clone()).await
            }
            EffectKind::Answer {
                request,
                reply_to,
                json,
                error,
            } => {
                let format = if *json { Format::Json } else { Format::Msgpack };
                let to = answering(&self.home, reply_to.clone(), request.clone(), format);
                let outcome = match error {
                    Some(error) => Err(McpError::clone(error)),
                    None => encoded(Ok(&self.record)),
                };
                transport::answer(&self.home.client, to, outcome).await;
                Ok(())
            }
        }
    }

    async fn keep(&self, checkpoint: &WorkflowCheckpoint) -> Result<(), StoreError> {
        let span = telemetry::checkpoint_span(false);
        let keeping = self.home.store.keep_checkpoint(checkpoint);
        let kept = keeping.instrument(span.clone()).await;
        let (size, error) = match &kept {
            Ok(size) => (u64::try_from(*size).unwrap_or(u64::MAX), None),
            Err(_) => (0, Some(code::TRANSPORT_UNAVAILABLE)),
        };
        telemetry::checkpoint_saved(&span, self.definition.as_str(), size, error);
        self.persisted("save_checkpoint", kept.is_ok());
        kept.map(drop)
    }

    async fn publish(&self, effect: &EventEffect) -> Result<(), StoreError> {
        let id = self.record.id.as_str();
        let data = EventData {
            workflow_id: id,
            definition: &self.definition,
            epoch: effect.epoch,
            state: &effect.state,
            status: effect.status,
            from: &effect.from,
            to: &effect.to,
            code: &effect.code,
            checkpoint: &effect.checkpoint,
        };
        let name = effect.event.as_str();
        let refused = |description: String| StoreError::Refused {
            code: 0,
            description,
        };
        let data = Raw::encode(&data).map_err(|error| refused(error.to_string()))?;
        let event_name = Name::new(name).map_err(|error| refused(error.to_string()))?;
        let mut event = Event::new(self.home.herald.name().clone(), event_name, data);
        event
            .conversation_id
            .clone_from(&self.record.conversation_id);
        let message_id = format!("{id}.{}.{name}", effect.epoch);
        transport::publish_event(&self.home.herald, &event, &message_id, &given(&self.record))
            .await
            .map_err(|error| match error {
                mcp_runtime::PublishError::Transport { reason } => {
                    StoreError::Unavailable { reason }
                }
                error => refused(error.to_string()),
            })
    }

    /// A task that the server delivers when its time has come. One per workflow: a later one replaces it.
    ///
    /// The later publish need not be that of the later wait: one may be repeated over an outage while another engine goes on.
    /// So whoever has published looks whether it is still waited for, and puts right what it has replaced.
    async fn schedule(self, timer: Timer) -> Result<(), StoreError> {
        let id = self.record.id.as_str();
        let mut timer = timer;
        let mut message_id = timer.task_id(id);
        for _ in 0..MOST_CORRECTIONS {
            failpoint("engine.before_timer");
            self.publish_timer(&timer, &message_id).await?;
            failpoint("engine.timer");
            let now = self.look().await?;
            match now.and_then(|now| Timer::waited_for(&now.record)) {
                Some(other) if other != timer => timer = other,
                _ => return Ok(()),
            }
            // The stream knows the usual one already, and would not store it again.
            message_id = format!("{}.{}", timer.task_id(id), Token::random().as_str());
        }
        Err(StoreError::Unavailable {
            reason: "the workflow waits for something else each time".to_owned(),
        })
    }

    /// The record as it is now, however long the server is away; nobody else looks.
    async fn look(&self) -> Result<Option<Versioned>, StoreError> {
        let looking = async {
            loop {
                match self.home.store.read_fresh(self.record.id.as_str()).await {
                    Err(StoreError::Unavailable { reason }) => {
                        tracing::warn!(reason, "a timer cannot be looked after, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                    looked => return looked,
                }
            }
        };
        let looked = self.home.abandon.run_until_cancelled(looking).await;
        looked.unwrap_or_else(|| {
            Err(StoreError::Unavailable {
                reason: "the engine is gone".to_owned(),
            })
        })
    }

    async fn publish_timer(&self, timer: &Timer, message_id: &str) -> Result<(), StoreError> {
        let store = &self.home.store;
        let id = &self.record.id;
        let at_ms = timer.at_ms;
        let mut task = Task::new(Verb::Wake, self.definition.clone(), id.clone(), at_ms);
        task.id = timer.task_id(id.as_str());
        task.entry = Some(timer.entry);
        task.attempt = Some(timer.attempt);
        let body = task.encode().map_err(|error| StoreError::Refused {
            code: 0,
            description: error.to_string(),
        })?;
        let (schedule, target) = store.timer_subjects(&self.definition, id.as_str());
        let mut headers = HeaderMap::new();
        // Beyond the year 9999 there is no way to write a time.
        let at_ms = at_ms.min(LATEST_MS);
        headers.insert("Nats-Schedule", format!("@at {}", rfc3339(at_ms)));
        headers.insert("Nats-Schedule-Target", target);
        headers.insert("Nats-Msg-Id", message_id);
        headers.insert("Content-Type", Format::Msgpack.content_type());
        let scheduling =
            transport::publish(&self.home.client, schedule, headers, body, PUBLISH_TIME);
        let scheduled = scheduling.await;
        self.persisted("schedule", scheduled.is_ok());
        scheduled.map(drop)
    }

    fn persisted(&self, what: &'static str, done: bool) {
        let agent = self.home.client.name().as_str();
        let outcome = if done { "stored" } else { "failed" };
        telemetry::workflow_persisted(agent, self.definition.as_str(), what, outcome);
    }
}

/// When a workflow is to be woken, and for what.
#[derive(Clone, PartialEq, Eq)]
struct Timer {
    entry: u64,
    attempt: u32,
    at_ms: u64,
}

impl Timer {
    /// The one that a workflow waits for now.
    fn waited_for(record: &WorkflowRecord) -> Option<Self> {
        let at_ms = record.wait.as_ref()?.until?;
        Some(Self {
            entry: record.entry,
            attempt: ended_attempt(record),
            at_ms,
        })
    }

    /// The same for the same wait, whoever has it set.
    fn task_id(&self, workflow_id: &str) -> String {
        format!("{workflow_id}.{}.{}.wake", self.entry, self.attempt)
    }
}

/// Whether the server will never do it. A full disk or account is no such refusal: it may have room again.
pub(super) fn is_final(error: &StoreError) -> bool {
    /// Of our own making, or a schedule that is none.
    const FINAL: [u64; 3] = [0, 10189, 10190];
    match error {
        StoreError::Refused { code, .. } => FINAL.contains(code),
        StoreError::TooLarge { .. } | StoreError::Denied { .. } => true,
        _ => false,
    }
}

fn rfc3339(unix_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
