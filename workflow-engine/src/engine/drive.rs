//! One delivery of one task: the core says what, this does it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mcp_runtime::{
    Format, McpError, Name, TraceContext, code, telemetry,
    transport::{self, Delivered, Lease, StoreError, WriteError},
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    checkpoint::WorkflowCheckpoint,
    context::{News, Part, Scope, Started},
    core::{Action, Drive, End, Former, Input, Migrated},
    definition::Definition,
    failpoint::failpoint,
    record::WorkflowRecord,
    run,
    task::{Origin, Task, Verb},
};

use super::{
    effects::Effects,
    home::{Family, Home, PAUSE},
    running::Running,
    settle::{Ended, answer, bury, settle},
    trace::{self, Trace},
};

/// Handles one task from its delivery to its acknowledgement.
pub(super) async fn handle(home: &Arc<Home>, family: &Arc<Family>, delivered: Delivered) {
    failpoint("engine.taken");
    match decode(&delivered) {
        Ok(mut task) => {
            let trace = Trace::begin(&mut task, delivered.message.headers.as_ref());
            if task.task == Verb::Wake {
                let late = home.now_ms().saturating_sub(task.created_at);
                telemetry::timer_fired(task.definition.as_str(), Duration::from_millis(late));
            }
            let lost = delivered.lease.lost().clone();
            let driving = Driving {
                effects: Effects::new(home, &task),
                core: Drive::new(family.shapes.clone(), task, delivered.info.deliveries),
                home,
                family,
                trace,
                running: Mutex::new(None),
            };
            tokio::select! {
                // Left to whoever has it now. What this one still writes loses its compare-and-set.
                () = lost.cancelled() => {}
                // The grace of a drain is over: another engine may go on at once.
                () = home.abandon.cancelled() => delivered.lease.give_back(Duration::ZERO).await,
                // Boxed: it holds records and tasks, and would be copied with the task that polls it.
                end = Box::pin(driving.run(&delivered.lease)) => settle(home, delivered, end).await,
            }
        }
        Err(error) => bury(home, delivered, error).await,
    }
}

fn decode(delivered: &Delivered) -> Result<Task, McpError> {
    let message = &delivered.message;
    // The definition's own timers come from schedules, and nobody else's.
    let mut tokens = message.subject.split('.');
    let (namespace, definition) = (tokens.next(), tokens.nth(1));
    let timers = format!(
        "{}.timer.{}.",
        namespace.unwrap_or_default(),
        definition.unwrap_or_default()
    );
    if let Some(reason) = transport::borrowed(message, &timers) {
        return Err(McpError::permanent(code::INVALID_MESSAGE)
            .message(format!("nobody shows the right to send this: {reason}")));
    }
    let format = Format::of_message(message).map_err(|error| {
        McpError::permanent(code::INVALID_MESSAGE)
            .message(error.to_string())
            .detail("field", "Content-Type")
    })?;
    Task::decode(format, &message.payload, &message.subject)
}

struct Driving<'a> {
    home: &'a Arc<Home>,
    family: &'a Arc<Family>,
    core: Drive,
    effects: Effects,
    trace: Trace,
    /// The state that runs, which may have news in between. Never locked: a mutex makes shareable what is only sent.
    running: Mutex<Option<Running>>,
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
            Action::LoadOrigin(origin) => self.load_origin(&origin).await?,
            Action::Migrate { former, to } => {
                let migrated = self.migrate(&former, &to);
                Input::Migrated(Box::new((*former, migrated)))
            }
            Action::AskForVersion(version) => self.ask_for_version(&version).await?,
            Action::Write(record, revision) => self.write(&record, revision, lease).await?,
            Action::Confirm { effects, wait } => {
                if let Some(record) = self.core.shared_record() {
                    let effects = || self.effects.begin(effects, record);
                    self.trace.task(record).in_scope(effects);
                }
                if wait {
                    self.effects.wait().await;
                    failpoint("engine.confirmed");
                }
                Input::Confirmed
            }
            Action::Answer => {
                if let Some(record) = self.core.record() {
                    answer(self.home, self.core.task(), Ok(record)).await;
                }
                Input::Answered
            }
            Action::Run => {
                let Some(place) = self.place().await else {
                    return Ok(Input::Yield);
                };
                failpoint("engine.run");
                self.running = Mutex::new(self.begin_state(lease, place));
                self.run_on().await
            }
            Action::GoOnRunning => self.run_on().await,
            Action::Exit => {
                self.exit_state(lease).await;
                failpoint("engine.exited");
                Input::Exited
            }
            Action::Sleep(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => Input::Slept,
                () = self.home.draining.cancelled() => Input::Yield,
            },
            Action::End(end) => return Err(end),
        })
    }

    /// A place to run a state in. None once the engine is to stop: a workflow that goes on elsewhere is better than one
    /// that makes a pod hang.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.home.draining.cancelled() => None,
            place = Arc::clone(&self.family.places).acquire_owned() => place.ok(),
        }
    }

    async fn read(&self) -> Result<Input, End> {
        let id = self.core.task().workflow_id.as_str();
        loop {
            match self.home.store.read_fresh(id).await {
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

    async fn load_checkpoint(&mut self, name: Name) -> Result<Input, End> {
        let id = self.core.task().workflow_id.to_string();
        let found = self.restore(&id, &name).await?;
        Ok(Input::Checkpoint(name, found.map(Box::new)))
    }

    async fn load_origin(&mut self, origin: &Origin) -> Result<Input, End> {
        let id = origin.workflow_id.as_str();
        let found = self.restore(id, &origin.checkpoint).await?;
        Ok(Input::Origin(found.map(Box::new)))
    }

    async fn restore(&mut self, id: &str, name: &Name) -> Result<Option<WorkflowCheckpoint>, End> {
        let span = self.trace.restore(self.core.record());
        let definition = self.core.task().definition.as_str();
        loop {
            match self.home.store.checkpoint_sized(id, name).await {
                Ok(found) => {
                    let (found, size) = found.unzip();
                    let missing = found.is_none().then_some(code::NO_SUCH_CHECKPOINT);
                    let size = size.unwrap_or_default() as u64;
                    telemetry::checkpoint_restored(&span, definition, size, missing);
                    return Ok(found);
                }
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
            StoreError::Refused { .. } => Err(End::Later(Duration::from_secs(5))),
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
                    self.persisted(record, "stored");
                    failpoint("engine.written");
                    return Ok(Input::Written(revision));
                }
                Err(WriteError::Conflict(_)) => {
                    telemetry::cas_conflict(record.definition.as_str());
                    self.persisted(record, "conflict");
                    return Ok(Input::Conflict);
                }
                Err(WriteError::Store(StoreError::TooLarge { size, limit })) => {
                    self.persisted(record, "too_large");
                    return Ok(Input::TooLarge(too_large(size, limit)));
                }
                Err(error) => {
                    self.persisted(record, "failed");
                    tracing::warn!(%error, "a workflow cannot be written, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn persisted(&self, record: &WorkflowRecord, outcome: &'static str) {
        let agent = self.home.client.name().as_str();
        let definition = record.definition.as_str();
        telemetry::workflow_persisted(agent, definition, "write_record", outcome);
    }

    fn scope(&self, lease: &Lease) -> Option<Scope> {
        let record = Arc::clone(self.core.shared_record()?);
        Some(Scope {
            client: self.home.client.clone(),
            instance: Arc::clone(&self.home.instance),
            cancelled: lease.lost().child_token(),
            trace: trace::given(&record),
            record,
            part: Part::State,
            started: Started::default(),
            news: News::default(),
        })
    }

    fn migrate(&self, former: &Former, to: &str) -> Result<Migrated, McpError> {
        let missing = || McpError::permanent(code::INTERNAL).message("there is no such migration");
        let definition = self.family.version(to).ok_or_else(missing)?;
        definition.migrate(former)
    }

    fn definition(&self) -> Option<&'_ Arc<Definition>> {
        self.family.version(&self.core.shape()?.version)
    }

    fn begin_state(&mut self, lease: &Lease, place: OwnedSemaphorePermit) -> Option<Running> {
        let definition = self.definition().cloned()?;
        let mut scope = self.scope(lease)?;
        let undone = scope.record.compensates().map(|step| &step.state);
        let state = undone.unwrap_or(&scope.record.state).clone();
        let span = self.trace.state(&scope.record);
        scope.trace = TraceContext::of_span(&span).unwrap_or(scope.trace);
        Some(Running::begin(definition, state, scope, span, place))
    }

    /// The state that runs comes to its end, or has news.
    async fn run_on(&mut self) -> Input {
        let running = self.running.get_mut();
        let running = running.unwrap_or_else(PoisonError::into_inner);
        let Some(state) = running else {
            return Input::Ran(Box::new(run::no_code()));
        };
        let input = state.go_on().await;
        if matches!(input, Input::Ran(_)) {
            *running = None;
            failpoint("engine.ran");
        }
        input
    }

    async fn exit_state(&self, lease: &Lease) {
        if let Some((definition, scope)) = self.definition().zip(self.scope(lease))
            && let Some(steps) = definition.steps.get(&scope.record.state)
            && let Some(state) = definition.shape.state(&scope.record.state)
        {
            run::exit(steps, state, &scope).await;
        }
    }
}

fn too_large(size: usize, limit: usize) -> McpError {
    McpError::permanent(code::PAYLOAD_TOO_LARGE)
        .message("the workflow's record is larger than a message may be; keep large data elsewhere")
        .detail("size", size)
        .detail("limit", limit)
}
