//! One delivery of one task: the core says what, this does it.

use std::sync::Arc;

use mcp_runtime::{
    Format, McpError, Name, Raw, TraceContext, code,
    transport::{self, Answering, Delivered, Lease, StoreError, WriteError},
};

use crate::{
    context::{Part, Scope},
    core::{Action, Drive, End, Input, Ran},
    failpoint::failpoint,
    record::WorkflowRecord,
    run,
    task::{Task, Verb},
};

use super::{
    effects::Effects,
    home::{Family, Home, PAUSE, herald},
};

/// Handles one task from its delivery to its acknowledgement.
pub(super) async fn handle(home: &Arc<Home>, family: &Arc<Family>, delivered: Delivered) {
    failpoint("engine.taken");
    match decode(&delivered) {
        Ok(task) => {
            let lost = delivered.lease.lost().clone();
            let driving = Driving {
                effects: Effects::new(home, &task),
                core: Drive::new(family.shapes.clone(), task, delivered.info.deliveries),
                home,
                family,
            };
            tokio::select! {
                // Left to whoever has it now. What this one still writes loses its compare-and-set.
                () = lost.cancelled() => {}
                end = driving.run(&delivered.lease) => settle(home, delivered, end).await,
            }
        }
        Err(error) => bury(home, delivered, error).await,
    }
}

fn decode(delivered: &Delivered) -> Result<Task, McpError> {
    let message = &delivered.message;
    let format = Format::of_message(message).map_err(|error| {
        McpError::permanent(code::INVALID_MESSAGE)
            .message(error.to_string())
            .detail("field", "Content-Type")
    })?;
    Task::decode(format, &message.payload, &message.subject)
}

/// How a delivery ended, and the task with it.
struct Ended {
    task: Task,
    end: End,
}

struct Driving<'a> {
    home: &'a Arc<Home>,
    family: &'a Arc<Family>,
    core: Drive,
    effects: Effects,
}

impl Driving<'_> {
    async fn run(mut self, lease: &Lease) -> Ended {
        let mut action = self.core.begin();
        loop {
            let input = match self.act(action, lease).await {
                Ok(input) => input,
                Err(end) => {
                    let task = self.core.task().clone();
                    return Ended { task, end };
                }
            };
            for effect in self.effects.done() {
                self.core.confirmed(effect);
            }
            action = self.core.step(input, self.home.now_ms());
        }
    }

    /// Does one thing; whatever the server does not answer is done again until it does, or the lease is lost.
    async fn act(&mut self, action: Action, lease: &Lease) -> Result<Input, End> {
        Ok(match action {
            Action::Read => self.read().await?,
            Action::FindStart => self.find_start().await?,
            Action::LoadCheckpoint(name) => self.load_checkpoint(name).await?,
            Action::AskForVersion(version) => self.ask_for_version(&version).await?,
            Action::Write(record, revision) => self.write(&record, revision, lease).await?,
            Action::Confirm { effects, wait } => {
                if let Some(record) = self.core.record() {
                    self.effects.begin(effects, record);
                }
                if wait {
                    self.effects.wait().await;
                    failpoint("engine.confirmed");
                }
                Input::Confirmed
            }
            Action::Answer => {
                let record = self.core.record().cloned();
                let task = self.core.task().clone();
                if let Some(record) = record {
                    answer(self.home, &task, Ok(&record)).await;
                }
                Input::Answered
            }
            Action::Run => {
                // A workflow that goes on elsewhere is better than one that makes a pod hang.
                if self.home.draining.is_cancelled() {
                    return Err(End::Later(std::time::Duration::ZERO));
                }
                failpoint("engine.run");
                let ran = self.run_state(lease).await;
                failpoint("engine.ran");
                Input::Ran(Box::new(ran))
            }
            Action::Exit => {
                self.exit_state(lease).await;
                Input::Exited
            }
            Action::Sleep(pause) => {
                tokio::time::sleep(pause).await;
                Input::Slept
            }
            Action::End(end) => return Err(end),
        })
    }

    async fn read(&self) -> Result<Input, End> {
        let id = self.core.task().workflow_id.as_str();
        loop {
            match self.home.store.read(id).await {
                Ok(found) => return Ok(Input::Found(found.map(Box::new))),
                Err(error) => self.not_read(&error).await?,
            }
        }
    }

    async fn find_start(&self) -> Result<Input, End> {
        let task = self.core.task();
        let id = task.workflow_id.as_str();
        loop {
            match self.home.store.find_start(Some(&task.definition), id).await {
                Ok(start) => return Ok(Input::Start(start.map(Box::new))),
                Err(error) => self.not_read(&error).await?,
            }
        }
    }

    async fn load_checkpoint(&self, name: Name) -> Result<Input, End> {
        let id = self.core.task().workflow_id.as_str();
        loop {
            match self.home.store.checkpoint(id, &name).await {
                Ok(found) => return Ok(Input::Checkpoint(name, found.map(Box::new))),
                Err(error) => self.not_read(&error).await?,
            }
        }
    }

    async fn ask_for_version(&self, version: &str) -> Result<Input, End> {
        let definition = &self.core.task().definition;
        loop {
            match self.home.is_elsewhere(definition, version).await {
                Ok(elsewhere) => return Ok(Input::Elsewhere(elsewhere)),
                Err(error) => self.not_read(&error).await?,
            }
        }
    }

    async fn not_read(&self, error: &StoreError) -> Result<(), End> {
        tracing::warn!(%error, "a workflow cannot be read, trying again");
        match error {
            // Somebody has written what we cannot read: a newer engine may.
            StoreError::Refused { .. } => Err(End::Later(std::time::Duration::from_secs(5))),
            _ => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }

    async fn write(
        &self,
        record: &WorkflowRecord,
        revision: u64,
        lease: &Lease,
    ) -> Result<Input, End> {
        failpoint("engine.before_write");
        loop {
            // After a stop of the whole process nothing may be written before the lease was looked at.
            if !lease.is_held() {
                return Err(End::Silent);
            }
            match self.home.store.write(record, revision).await {
                Ok(revision) => {
                    failpoint("engine.written");
                    return Ok(Input::Written(revision));
                }
                Err(WriteError::Conflict(_)) => return Ok(Input::Conflict),
                Err(WriteError::Store(StoreError::TooLarge { size, limit })) => {
                    return Ok(Input::TooLarge(too_large(size, limit)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a workflow cannot be written, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn scope(&self, lease: &Lease) -> Option<Scope> {
        let record = self.core.record()?.clone();
        let trace = TraceContext::new(record.traceparent.clone(), None);
        Some(Scope {
            client: self.home.client.clone(),
            instance: Arc::clone(&self.home.instance),
            cancelled: lease.lost().child_token(),
            trace,
            record: Arc::new(record),
            part: Part::State,
        })
    }

    async fn run_state(&self, lease: &Lease) -> Ran {
        let definition = self.core.shape().and_then(|shape| self.family.version(&shape.version));
        let known = definition.zip(self.scope(lease)).and_then(|(definition, scope)| {
            let state = definition.shape.state(&scope.record.state)?;
            let steps = definition.steps.get(&state.name)?;
            Some((steps, state, scope))
        });
        match known {
            Some((steps, state, scope)) => run::run(steps, state, scope).await,
            // The core runs only what the shape has, and each of its states has its steps.
            None => Ran {
                entered: true,
                outcome: Err(McpError::permanent(code::INTERNAL).message("the state has no code")),
                draw: 0.0,
            },
        }
    }

    async fn exit_state(&self, lease: &Lease) {
        let definition = self.core.shape().and_then(|shape| self.family.version(&shape.version));
        if let Some((definition, scope)) = definition.zip(self.scope(lease))
            && let Some(steps) = definition.steps.get(&scope.record.state)
        {
            run::exit(steps, &scope).await;
        }
    }
}

async fn settle(home: &Home, delivered: Delivered, ended: Ended) {
    let Ended { task, end } = ended;
    match end {
        End::Silent => {}
        End::Later(delay) => delivered.lease.give_back(delay).await,
        End::Done(answered) => {
            if !delivered.lease.is_held() {
                return;
            }
            match answered.map(|answer| *answer) {
                // Nobody waits to hear of it, so it is kept where somebody can find it.
                Some(Err(error)) if task.reply_to.is_none() && task.task != Verb::Wake => {
                    return bury(home, delivered, error).await;
                }
                Some(outcome) => answer(home, &task, outcome.as_ref().map_err(Clone::clone)).await,
                None => {}
            }
            failpoint("engine.before_ack");
            delivered.lease.acknowledge().await;
        }
    }
}

/// Keeps a task that cannot be handled, and answers it where it still says whom.
async fn bury(home: &Home, delivered: Delivered, error: McpError) {
    let Delivered {
        message,
        info,
        lease,
    } = delivered;
    tracing::warn!(subject = %message.subject, code = error.code, "a workflow task cannot be handled");
    let definition = message.subject.split('.').nth(2).map(Name::new);
    let Some(Ok(definition)) = definition else {
        return;
    };
    if let Some((format, reply)) = readable_reply(&message) {
        let to = answering(home, reply.reply_to, reply.id, format);
        transport::answer(&home.client, to, Err(error.clone())).await;
    }
    let place = (&herald(), &definition);
    match transport::bury(&home.client, &message, &info, place, error).await {
        Ok(()) => lease.terminate().await,
        Err(error) => {
            tracing::error!(%error, "a dead letter could not be stored, the task stays queued");
        }
    }
}

/// What is left of a task that cannot be read, if it says whom to answer.
#[derive(serde::Deserialize)]
struct Readable {
    reply_to: String,
    #[serde(default)]
    id: String,
}

fn readable_reply(message: &async_nats::Message) -> Option<(Format, Readable)> {
    let format = Format::of_message(message).ok()?;
    Some((format, format.decode(&message.payload).ok()?))
}

async fn answer(home: &Home, task: &Task, outcome: Result<&WorkflowRecord, McpError>) {
    let Some(reply_to) = task.reply_to.clone() else {
        return;
    };
    let format = match task.json {
        true => Format::Json,
        false => Format::Msgpack,
    };
    let to = answering(home, reply_to, task.id.clone(), format);
    transport::answer(&home.client, to, encoded(outcome)).await;
}

pub(super) fn answering(
    home: &Home,
    reply_to: String,
    request_id: String,
    format: Format,
) -> Answering {
    Answering {
        reply_to,
        request_id,
        source: herald(),
        instance: home.instance.to_string(),
        format,
    }
}

pub(super) fn encoded(outcome: Result<&WorkflowRecord, McpError>) -> Result<Raw, McpError> {
    let record = outcome?;
    Raw::encode(record)
        .map_err(|error| McpError::permanent(code::INTERNAL).message(error.to_string()))
}

fn too_large(size: usize, limit: usize) -> McpError {
    McpError::permanent(code::PAYLOAD_TOO_LARGE)
        .message("the workflow's record is larger than a message may be; keep large data elsewhere")
        .detail("size", size)
        .detail("limit", limit)
}
