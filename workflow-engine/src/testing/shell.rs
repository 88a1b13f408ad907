//! What lies around the core in a test: the record, the queue, the timer and the clock, in memory.
//!
//! It stands beside the engine, and as the engine it only does what [`Drive`] says.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mcp_runtime::{Client, McpError, Name, Script, TraceContext, code};
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::WorkflowCheckpoint,
    context::{News, Part, Scope, Started},
    core::{Action, Drive, End, Input, Ran, Versioned},
    definition::Definition,
    effect::{Effect, EffectKind},
    record::{ChildEnd, WorkflowRecord, WorkflowStatus},
    run,
    task::{Task, Verb},
};

use super::{
    BEGINNING_MS, children::Kids, crash::Crash, error::WorkflowTestError, reaction::Reaction,
    script::AgentScript,
};

/// Deliveries of one run: a workflow that needs more goes in circles.
const MAX_DELIVERIES: usize = 10_000;

/// Steps of one delivery.
const MAX_STEPS: usize = 100_000;

/// After which the task of a dead engine comes to another.
const LEASE_MS: u64 = 10_000;

/// What one message of the server may hold.
const MAX_RECORD: usize = 1024 * 1024;

/// What is left when nothing happens any more.
pub(super) struct World {
    pub(super) record: Option<WorkflowRecord>,
    pub(super) now_ms: u64,
}

/// How a delivery ended.
enum Delivery {
    Ended(End),
    Crashed,
}

/// The surroundings of one run.
pub(super) struct Shell {
    /// The versions of the definition; the first is that which the workflow begins with.
    versions: Vec<Arc<Definition>>,
    client: Client,
    crash: Arc<Crash>,
    reactions: Vec<Reaction>,
    now_ms: u64,
    stored: Option<Versioned>,
    checkpoints: HashMap<Name, WorkflowCheckpoint>,
    queue: VecDeque<(Task, u64)>,
    timer: Option<(u64, Task)>,
    kids: Kids,
}

impl Shell {
    pub(super) async fn new(
        versions: Vec<Arc<Definition>>,
        script: &Arc<AgentScript>,
        crash: &Arc<Crash>,
        reactions: Vec<Reaction>,
        kids: Kids,
    ) -> Self {
        let name = Name::new("test").expect("`test` is a name");
        let script: Arc<dyn Script> = Arc::<AgentScript>::clone(script);
        Self {
            versions,
            client: Client::scripted(name, script).await,
            crash: Arc::clone(crash),
            reactions,
            now_ms: BEGINNING_MS,
            stored: None,
            checkpoints: HashMap::new(),
            queue: VecDeque::new(),
            timer: None,
            kids,
        }
    }

    /// Delivers tasks until there is none, and nothing that would bring one.
    pub(super) async fn run(mut self, start: Task) -> Result<World, WorkflowTestError> {
        self.queue.push_back((start, 1));
        for _ in 0..MAX_DELIVERIES {
            if let Some((task, delivery)) = self.queue.pop_front() {
                self.deliver(task, delivery).await?;
            } else if !self.bring()? {
                return Ok(World {
                    record: self
                        .stored
                        .map(|stored| Arc::unwrap_or_clone(stored.record)),
                    now_ms: self.now_ms,
                });
            }
        }
        Err(WorkflowTestError::TooLong)
    }

    async fn deliver(&mut self, task: Task, delivery: u64) -> Result<(), WorkflowTestError> {
        match self.drive(&task, delivery).await? {
            Delivery::Ended(End::Done(answer)) => match answer {
                Some(Err(error)) if task.task != Verb::Wake => Err(WorkflowTestError::Refused {
                    state: self.state(),
                    error,
                }),
                _ => Ok(()),
            },
            Delivery::Ended(End::Later(delay)) => {
                self.now_ms += millis(delay);
                self.queue.push_back((task, delivery + 1));
                Ok(())
            }
            Delivery::Ended(End::Silent) | Delivery::Crashed => {
                self.crash.recover();
                self.now_ms += LEASE_MS;
                self.queue.push_front((task, delivery + 1));
                Ok(())
            }
        }
    }

    /// When nothing is queued: what comes next, the test's own task or the timer. Whether anything does.
    fn bring(&mut self) -> Result<bool, WorkflowTestError> {
        let waiting = self.stored.as_ref().map(|stored| &stored.record);
        let waiting = waiting.filter(|record| record.status == WorkflowStatus::Waiting);
        let until = waiting.and_then(|record| record.wait.as_ref()?.until);
        // One that is overtaken would be ignored; it must not make time pass.
        self.timer = self.timer.take().filter(|_| until.is_some());
        let reaction = waiting.and_then(|record| {
            let fits = |reaction: &Reaction| reaction.is_for(record);
            let index = self.reactions.iter().position(fits)?;
            let due = record.updated_at + millis(self.reactions[index].delay());
            Some((index, due.max(self.now_ms)))
        });
        let timer_at = self.timer.as_ref().map(|(at, _)| (*at).max(self.now_ms));
        let told =
            reaction.filter(|(_, due)| timer_at.is_none_or(|at| *due < at || *due == self.now_ms));
        if let Some((index, due)) = told {
            self.now_ms = due;
            let reaction = self.reactions.remove(index);
            if let Some(stored) = &self.stored {
                let task = reaction.task(&stored.record, self.now_ms)?;
                self.queue.push_back((task, 1));
            }
            return Ok(true);
        }
        let Some((at, wake)) = self.timer.take() else {
            return Ok(false);
        };
        self.now_ms = self.now_ms.max(at);
        self.queue.push_back((wake, 1));
        Ok(true)
    }

    async fn drive(&mut self, task: &Task, delivery: u64) -> Result<Delivery, WorkflowTestError> {
        let shapes = self.versions.iter();
        let shapes = shapes.map(|version| Arc::clone(&version.shape)).collect();
        let mut core = Drive::new(shapes, task.clone(), delivery);
        let mut action = core.begin();
        for _ in 0..MAX_STEPS {
            let name = named(&action);
            let place = |when: &str| format!("{when} {name} in `{}`", self.state());
            if self.crash.strikes(|| place("before")) {
                return Ok(Delivery::Crashed);
            }
            let input = match action {
                Action::End(end) => return Ok(Delivery::Ended(end)),
                Action::Run => match self.run_state(&core).await {
                    Some(ran) => Input::Ran(Box::new(ran)),
                    None => return Ok(Delivery::Crashed),
                },
                Action::Exit => match self.exit_state(&core).await {
                    Some(()) => Input::Exited,
                    None => return Ok(Delivery::Crashed),
                },
                action => self.act(&mut core, action)?,
            };
            let state = self.state();
            if self.crash.strikes(|| format!("after {name} in `{state}`")) {
                return Ok(Delivery::Crashed);
            }
            action = core.step(input, self.now_ms);
        }
        Err(WorkflowTestError::TooLong)
    }

    /// Does one thing that needs no code of the author.
    fn act(&mut self, core: &mut Drive, action: Action) -> Result<Input, WorkflowTestError> {
        Ok(match action {
            Action::Read => Input::Found(self.stored.clone().map(Box::new)),
            Action::FindStart => Input::Start(None),
            Action::LoadCheckpoint(name) => {
                let found = self.checkpoints.get(&name).cloned().map(Box::new);
                Input::Checkpoint(name, found)
            }
            Action::LoadOrigin(_) => Input::Origin(None),
            Action::AskForVersion(_) => Input::Elsewhere(false),
            Action::Migrate { former, to } => {
                let migrated = self.version(&to).map(|version| version.migrate(&former));
                let missing = || McpError::permanent(code::INTERNAL);
                let migrated = migrated.unwrap_or_else(|| Err(missing()));
                Input::Migrated(Box::new((*former, migrated)))
            }
            Action::Write(record, revision) => self.write(&record, revision)?,
            Action::Confirm { effects, .. } => {
                for effect in effects {
                    self.effect(core, &effect)?;
                    core.confirmed(effect.id);
                }
                Input::Confirmed
            }
            Action::Answer => Input::Answered,
            Action::Sleep(pause) => {
                self.now_ms += millis(pause);
                Input::Slept
            }
            // Done by whoever calls this.
            Action::Run | Action::GoOnRunning | Action::Exit | Action::End(_) => Input::Yield,
        })
    }

    /// As it would lie in the bucket: what cannot be encoded or is too large fails here, too.
    fn write(
        &mut self,
        record: &WorkflowRecord,
        revision: u64,
    ) -> Result<Input, WorkflowTestError> {
        let known = self.stored.as_ref().map_or(0, |stored| stored.revision);
        if known != revision {
            return Ok(Input::Conflict);
        }
        let body = record
            .encode()
            .map_err(|error| WorkflowTestError::invalid(&error))?;
        if body.len() > MAX_RECORD {
            let error = McpError::permanent(code::PAYLOAD_TOO_LARGE)
                .message("the workflow's record is larger than a message may be")
                .detail("size", body.len());
            return Ok(Input::TooLarge(error));
        }
        let record =
            WorkflowRecord::decode(&body).map_err(|error| WorkflowTestError::invalid(&error))?;
        let revision = known + 1;
        self.stored = Some(Versioned {
            record: Arc::new(record),
            revision,
        });
        Ok(Input::Written(revision))
    }

    fn effect(&mut self, core: &Drive, effect: &Effect) -> Result<(), WorkflowTestError> {
        let Some(record) = core.record() else {
            return Ok(());
        };
        match &effect.kind {
            EffectKind::Timer {
                entry,
                attempt,
                at_ms,
            } => {
                let (definition, id) = (record.definition.clone(), record.id.clone());
                let mut wake = Task::new(Verb::Wake, definition, id, *at_ms);
                wake.id = format!("{}.{entry}.{attempt}.wake", record.id);
                wake.entry = Some(*entry);
                wake.attempt = Some(*attempt);
                self.timer = Some((*at_ms, wake));
            }
            EffectKind::Checkpoint { name, epoch } => {
                let checkpoint = WorkflowCheckpoint::of(record, name, *epoch);
                self.checkpoints.insert(name.clone(), checkpoint);
            }
            EffectKind::DeleteCheckpoint { name } => {
                self.checkpoints.remove(name);
            }
            EffectKind::StartChildren { children } => {
                let ended = self.kids.start(children)?;
                self.tell_ends(record, &ended)?;
            }
            EffectKind::StopChildren { children, .. } => {
                let ended = self.kids.stop(children);
                self.tell_ends(record, &ended)?;
            }
            // Nobody outside listens.
            EffectKind::Event(_)
            | EffectKind::Bury { .. }
            | EffectKind::Answer { .. }
            | EffectKind::TellParent { .. }
            | EffectKind::AwaitVersion { .. } => {}
        }
        Ok(())
    }

    /// As the children would: by a task for each.
    fn tell_ends(
        &mut self,
        parent: &WorkflowRecord,
        ended: &[ChildEnd],
    ) -> Result<(), WorkflowTestError> {
        for end in ended {
            let task = end.task(parent.definition.clone(), parent.id.clone(), self.now_ms);
            let task = task.map_err(|reason| WorkflowTestError::Invalid { reason })?;
            self.queue.push_back((task, 1));
        }
        Ok(())
    }

    fn version(&self, version: &str) -> Option<&Arc<Definition>> {
        let mut versions = self.versions.iter();
        versions.find(|known| known.shape.version == version)
    }

    /// The version that the workflow is on.
    fn definition(&self, core: &Drive) -> Option<&Arc<Definition>> {
        self.version(&core.shape()?.version)
    }

    fn scope(&self, core: &Drive) -> Option<Scope> {
        let record = Arc::clone(core.shared_record()?);
        Some(Scope {
            client: self.client.clone(),
            instance: "test".into(),
            cancelled: CancellationToken::new(),
            trace: TraceContext::default(),
            record,
            part: Part::State,
            started: Started::default(),
            news: News::default(),
        })
    }

    /// `None` when the engine has died meanwhile.
    async fn run_state(&self, core: &Drive) -> Option<Ran> {
        let scope = self.scope(core);
        let state = scope.as_ref().map(|scope| {
            let undone = scope.record.compensates().map(|step| &step.state);
            undone.unwrap_or(&scope.record.state).clone()
        });
        let definition = self.definition(core);
        let known = state.as_ref().zip(definition);
        let known = known.and_then(|(state, definition)| {
            (definition.steps.get(state)).zip(definition.shape.state(state))
        });
        let (Some(scope), Some((steps, state))) = (scope, known) else {
            return Some(run::no_code());
        };
        tokio::select! {
            biased;
            ran = run::run(steps, state, scope) => Some(ran),
            () = self.crash.is_down() => None,
        }
    }

    async fn exit_state(&self, core: &Drive) -> Option<()> {
        let scope = self.scope(core)?;
        let definition = self.definition(core)?;
        let steps = definition.steps.get(&scope.record.state)?;
        let state = definition.shape.state(&scope.record.state)?;
        tokio::select! {
            biased;
            () = run::exit(steps, state, &scope) => Some(()),
            () = self.crash.is_down() => None,
        }
    }

    fn state(&self) -> String {
        let record = self.stored.as_ref().map(|stored| &stored.record);
        record.map_or_else(
            || "its beginning".to_owned(),
            |record| record.state.to_string(),
        )
    }
}

/// An action in the words of a failure.
fn named(action: &Action) -> &'static str {
    match action {
        Action::Read => "a read of the record",
        Action::FindStart => "a look for the start",
        Action::LoadCheckpoint(_) | Action::LoadOrigin(_) => "a read of a checkpoint",
        Action::AskForVersion(_) => "a look for other engines",
        Action::Write(..) => "a write of the record",
        Action::Confirm { .. } => "the effects of a write",
        Action::Answer => "an answer",
        Action::Migrate { .. } => "a migration",
        Action::Run | Action::GoOnRunning => "a run of the state",
        Action::Exit => "the exit hook",
        Action::Sleep(_) => "a pause",
        Action::End(_) => "the acknowledgement",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}
