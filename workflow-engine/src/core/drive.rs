//! One delivery of one task, from the first read of the record to the acknowledgement.
//!
//! A machine without hands: it says what is to be done next ([`Action`]) and is told what came of it ([`Input`]). All
//! rules about who may write what, and when, are here.

mod decline;
mod note;
mod run;
#[cfg(test)]
mod samples;
mod take;

use std::{collections::HashSet, sync::Arc, time::Duration};

use mcp_runtime::{McpError, Name};

use crate::{
    checkpoint::WorkflowCheckpoint,
    effect::{Effect, EffectKind},
    record::{Driver, LabelProgress, WorkflowRecord, WorkflowStatus},
    shape::WorkflowShape,
    task::{Origin, Task, Verb},
};

use super::{
    Former, Migrated, Need, Supplies,
    advance::Ran,
    apply::is_its_timer,
    codes,
    draft::{Author, Draft},
    refusal,
    started::{Shapes, started},
};

/// How long a task that somebody else has to take rests.
const ELSEWHERE_DELAY: Duration = Duration::from_secs(1);

/// How long a task rests whose workflow has outgrown every write.
const TOO_LARGE_DELAY: Duration = Duration::from_secs(60);

/// Tasks that wait for a driver; more are left in the stream for a while.
const MAX_INBOX: usize = 256;

/// A record as it was read or written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Versioned {
    pub(crate) record: Arc<WorkflowRecord>,
    pub(crate) revision: u64,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Action {
    /// Read the record. [`Input::Found`].
    Read,
    /// Read the start task that waits in the stream. [`Input::Start`].
    FindStart,
    /// Read a checkpoint. [`Input::Checkpoint`].
    LoadCheckpoint(Name),
    /// Run the migration function of a version. [`Input::Migrated`].
    Migrate { former: Box<Former>, to: String },
    /// Read the checkpoint that a fork begins with. [`Input::Origin`].
    LoadOrigin(Origin),
    /// Is an engine alive that has this version? [`Input::Elsewhere`].
    AskForVersion(String),
    /// Write the record, if this is still its revision. [`Input::Written`] or [`Input::Conflict`].
    Write(Arc<WorkflowRecord>, u64),
    /// Begin to confirm effects. With `wait`, [`Input::Confirmed`] comes when all begun so far are done; else at once.
    Confirm { effects: Vec<Effect>, wait: bool },
    /// Answer the task that is driven, with the record as it is. [`Input::Answered`].
    Answer,
    /// Run the current state. [`Input::Ran`].
    Run,
    /// Go on with the run of the current state, of which news have been noted. [`Input::Ran`] or [`Input::Progressed`].
    GoOnRunning,
    /// Run the exit hook of the current state. [`Input::Exited`].
    Exit,
    /// Wait before the next attempt. [`Input::Slept`].
    Sleep(Duration),
    /// The end of this delivery.
    End(End),
}

/// How a delivery ends.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// Done; the answer is sent where one is wanted.
    Done(Option<Result<Arc<WorkflowRecord>, Box<McpError>>>),
    /// To be delivered again later.
    Later(Duration),
    /// Somebody else has it.
    Silent,
}

/// What came of an action.
#[derive(Debug)]
pub(crate) enum Input {
    /// What lies in the bucket.
    Found(Option<Box<Versioned>>),
    Start(Option<Box<Task>>),
    Checkpoint(Name, Option<Box<WorkflowCheckpoint>>),
    Origin(Option<Box<WorkflowCheckpoint>>),
    Elsewhere(bool),
    Migrated(Box<(Former, Result<Migrated, McpError>)>),
    Written(u64),
    Conflict,
    /// The record is larger than a message may be.
    TooLarge(McpError),
    Confirmed,
    Answered,
    Ran(Box<Ran>),
    /// The state runs on; this is how far its commands have come.
    Progressed(Vec<LabelProgress>),
    Exited,
    Slept,
    /// Instead of running or sleeping: the engine is about to stop.
    Yield,
}

/// What is under way, and so what the next input means.
#[derive(Debug)]
enum Stage {
    /// The first read, or the one after somebody else has written.
    Reading {
        looked_for_start: bool,
    },
    FindingStart,
    /// A fork's checkpoint is read.
    FindingOrigin,
    /// It is of an earlier version than the fork is to have.
    MigratingOrigin(Box<WorkflowCheckpoint>),
    /// A write that leaves the rest to others.
    Appending,
    /// Foreign checkpoints are confirmed, then the task is applied.
    Preparing,
    /// The task is applied, and is being written.
    Applying,
    /// The task changes nothing, which an earlier delivery of it has to learn; perhaps it is refused.
    Declining(Option<McpError>),
    /// This delivery takes over from an earlier one.
    TakingOver(Takeover),
    /// The state runs.
    Running,
    /// How far it has come is being written, while it runs on.
    Noting,
    /// What that write brings with it is being begun.
    Noted,
    /// The record is read again: the note came too late for somebody else's write.
    RereadingNoting,
    /// Its result is being written.
    Advancing(Box<Ran>),
    /// The record is read again: somebody has put something into the inbox, or has taken over.
    Rereading(Option<Box<Ran>>),
    /// Tasks of the inbox are being written.
    TakingIn,
    /// Something is fetched that is needed for the next step.
    Fetching(Purpose),
    /// Whether another engine has the version.
    Asking,
    /// Whether another engine has the version that a migration in the inbox leads to.
    AskingForTarget(String),
    Parking,
    /// The workflow is given to another engine, after a while.
    Yielding(Duration),
    /// A write is done; its effects are being begun, or done where the next write has to wait for them.
    Effecting {
        wait: bool,
    },
    Answering,
    Sleeping,
    /// The last effects are being confirmed.
    Finishing,
}

/// What a fetched checkpoint or a run exit hook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Applying,
    TakingIn,
    GoingOn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takeover {
    Confirming,
    Writing,
}

/// How much of the inbox a write may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Plenty,
    OneTask,
    Nothing,
}

/// Whether a write may begin with a migration, which needs a draft by the version that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Migrations {
    First,
    Later,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Drive {
    shapes: Shapes,
    task: Task,
    author: Author,
    /// The record as far as this delivery knows; `None` before the first read.
    base: Option<Versioned>,
    supplies: Supplies,
    /// What a fork begins with.
    origin: Option<WorkflowCheckpoint>,
    /// Effects that were begun by this delivery.
    begun: HashSet<String>,
    answered: bool,
    /// What is being written.
    writing: Option<Arc<WorkflowRecord>>,
    /// The last write was too large: how much the next one holds beside what it is for.
    room: Room,
    /// A version that a migration in the inbox leads to, and that no engine has.
    nowhere: Option<String>,
    /// Before the next attempt.
    pause: Option<Duration>,
    now_ms: u64,
    stage: Stage,
}

impl Drive {
    pub(crate) fn new(shapes: Shapes, task: Task, delivery: u64) -> Self {
        let author = Author {
            driver: Driver {
                task: task.id.clone(),
                delivery,
            },
            confirmed: HashSet::new(),
        };
        Self {
            shapes,
            task,
            author,
            base: None,
            supplies: Supplies::default(),
            origin: None,
            begun: HashSet::new(),
            answered: false,
            writing: None,
            room: Room::Plenty,
            nowhere: None,
            pause: None,
            now_ms: 0,
            stage: Stage::Reading {
                looked_for_start: false,
            },
        }
    }

    pub(crate) fn begin(&mut self) -> Action {
        Action::Read
    }

    /// Takes note that an effect is done.
    pub(crate) fn confirmed(&mut self, effect: String) {
        self.author.confirmed.insert(effect);
    }

    /// The record as this delivery last read or wrote it.
    pub(crate) fn record(&self) -> Option<&WorkflowRecord> {
        self.base.as_ref().map(|base| &*base.record)
    }

    /// The same, to be kept while the drive goes on.
    pub(crate) fn shared_record(&self) -> Option<&Arc<WorkflowRecord>> {
        self.base.as_ref().map(|base| &base.record)
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// The version of the definition that the workflow runs by, when this engine has it.
    pub(crate) fn shape(&self) -> Option<&Arc<WorkflowShape>> {
        let version = &self.base.as_ref()?.record.version;
        self.shapes.iter().find(|shape| shape.version == *version)
    }

    /// One step; `now_ms` is the server's time.
    pub(crate) fn step(&mut self, input: Input, now_ms: u64) -> Action {
        self.now_ms = now_ms;
        let stage = std::mem::replace(&mut self.stage, Stage::Finishing);
        match (stage, input) {
            (Stage::Reading { looked_for_start }, Input::Found(found)) => {
                self.decide(found, looked_for_start)
            }
            (Stage::FindingStart, Input::Start(start)) => self.found_start(start),
            (Stage::FindingOrigin, Input::Origin(found)) => self.found_origin(found),
            (Stage::MigratingOrigin(origin), Input::Migrated(migrated)) => {
                self.migrated_origin(*origin, migrated.1)
            }
            (Stage::Appending, Input::Written(_)) => Action::End(End::Done(None)),
            (Stage::Preparing, Input::Confirmed) => self.apply(),
            (Stage::TakingOver(Takeover::Confirming), Input::Confirmed) => self.write_takeover(),
            (Stage::Running, Input::Ran(ran)) => self.advance(ran),
            (Stage::Running, Input::Progressed(progress)) => self.note(progress),
            (Stage::Noting, Input::Written(revision)) => self.noted(revision),
            (Stage::Noting, Input::Conflict) => {
                self.stage = Stage::RereadingNoting;
                Action::Read
            }
            // It is only news: the state is worth more.
            (Stage::Noting, Input::TooLarge(_)) | (Stage::Noted, Input::Confirmed) => self.run_on(),
            (Stage::RereadingNoting, Input::Found(found)) => self.compare_noting(found),
            (Stage::Rereading(ran), Input::Found(found)) => self.compare(found, ran),
            (Stage::Asking, Input::Elsewhere(elsewhere)) => self.asked(elsewhere),
            (Stage::AskingForTarget(version), Input::Elsewhere(elsewhere)) => {
                self.asked_for_target(version, elsewhere)
            }
            (
                Stage::Applying
                | Stage::Advancing(_)
                | Stage::TakingIn
                | Stage::TakingOver(Takeover::Writing)
                | Stage::Parking,
                Input::Written(revision),
            ) => self.written(revision),
            (Stage::Declining(refused), Input::Written(revision)) => {
                self.declined(revision, refused.as_ref())
            }
            (Stage::Declining(refused), Input::TooLarge(_)) => self.decline_unwritten(refused),
            (Stage::Advancing(ran), Input::Conflict) => self.reread(Some(ran)),
            (Stage::TakingIn, Input::Conflict) => self.reread(None),
            (Stage::Parking, Input::Conflict) => {
                self.answered = false;
                self.read_again()
            }
            (Stage::Running | Stage::Sleeping, Input::Yield) => self.give_away(Duration::ZERO),
            (Stage::Yielding(delay), Input::Written(_) | Input::Conflict | Input::TooLarge(_)) => {
                Action::End(End::Later(delay))
            }
            (
                Stage::Appending | Stage::Applying | Stage::TakingOver(_) | Stage::Declining(_),
                Input::Conflict,
            ) => self.read_again(),
            (Stage::Advancing(ran), Input::TooLarge(error)) => self.advance_too_large(ran, error),
            (Stage::TakingIn, Input::TooLarge(error)) => self.take_in_too_large(error),
            // Nobody would hear of the refusal, and the workflow would wait for ever.
            (Stage::Appending | Stage::Applying, Input::TooLarge(_))
                if self.task.task == Verb::Wake =>
            {
                Action::End(End::Later(TOO_LARGE_DELAY))
            }
            (Stage::Appending | Stage::Applying, Input::TooLarge(error)) => self.refuse(error),
            // Not even the smallest change fits: a person has to look at it, and an engine with more room may do it.
            (Stage::TakingOver(_) | Stage::Parking, Input::TooLarge(_)) => {
                Action::End(End::Later(TOO_LARGE_DELAY))
            }
            (Stage::Fetching(purpose), Input::Checkpoint(name, found)) => {
                let found = found.map(|found| *found);
                self.supplies.checkpoints.push((name, found));
                self.fetched(purpose)
            }
            (Stage::Fetching(purpose), Input::Migrated(migrated)) => {
                self.supplies.migrated = Some(*migrated);
                self.fetched(purpose)
            }
            (Stage::Fetching(purpose), Input::Exited) => {
                self.supplies.exited = self.record().map(|record| record.entry);
                self.fetched(purpose)
            }
            (Stage::Effecting { wait }, Input::Confirmed) => {
                if wait {
                    self.author.confirmed.extend(self.begun.iter().cloned());
                }
                self.answer_or_go_on()
            }
            (Stage::Answering, Input::Answered) | (Stage::Sleeping, Input::Slept) => self.go_on(),
            (Stage::Finishing, Input::Confirmed) => self.end(),
            (stage, input) => {
                tracing::error!(
                    ?stage,
                    ?input,
                    "the workflow core is told what it did not ask for"
                );
                // Left to redelivery, which starts from what is written.
                Action::End(End::Silent)
            }
        }
    }

    fn decide(&mut self, found: Option<Box<Versioned>>, looked_for_start: bool) -> Action {
        let Some(found) = found else {
            return match self.task.task {
                Verb::Start => self.start(),
                // Its start was refused.
                _ if looked_for_start && self.task.parent.is_some() => Action::End(End::Done(None)),
                _ if looked_for_start => self.refuse(refusal(
                    codes::NO_SUCH_WORKFLOW,
                    format!("there is no workflow `{}`", self.task.workflow_id),
                )),
                _ => {
                    self.stage = Stage::FindingStart;
                    Action::FindStart
                }
            };
        };
        let record = &found.record;
        let driver = record.driver.clone();
        let known = record.knows(&self.task.id);
        let same_definition = record.definition == self.task.definition;
        self.base = Some(*found);
        if !same_definition && self.task.task != Verb::Start {
            return self.refuse(refusal(
                codes::NO_SUCH_WORKFLOW,
                format!(
                    "`{}` has no workflow `{}`",
                    self.task.definition, self.task.workflow_id
                ),
            ));
        }
        match driver {
            Some(driver) if driver.task == self.task.id => self.take_over(driver.delivery),
            // Whoever takes it from the inbox answers it, or has noted the answer; parking is all that it can have written.
            _ if self.is_answered_by_others() => {
                self.answered = true;
                self.finish()
            }
            _ if known => self.finish(),
            _ if self.task.is_for_parked() => match self.is_parked_for_task() {
                true => self.prepare(),
                false => self.finish(),
            },
            // Nothing waits for a time: whoever had it set has gone on.
            _ if self.task.task == Verb::Wake && self.timed_wait().is_none() => self.finish(),
            _ if self.too_early().is_some() => {
                Action::End(End::Later(self.too_early().unwrap_or(ELSEWHERE_DELAY)))
            }
            _ if self.task.task == Verb::Start => match same_definition {
                true => self.finish(),
                false => self.refuse(refusal(
                    codes::WORKFLOW_EXISTS,
                    format!(
                        "`{}` is a workflow of another definition",
                        self.task.workflow_id
                    ),
                )),
            },
            Some(_) => self.append(),
            None => self.prepare(),
        }
    }

    /// The record begins in memory: what is written first is what its first state has decided.
    fn start(&mut self) -> Action {
        if let Some(origin) = self.task.from.clone().filter(|_| self.origin.is_none()) {
            self.stage = Stage::FindingOrigin;
            return Action::LoadOrigin(origin);
        }
        let origin = self.origin.as_ref();
        let mut record = match started(&self.task, &self.shapes, origin, self.now_ms) {
            Ok(record) => record,
            Err(error) => return self.refuse(error),
        };
        record.driver = Some(self.author.driver.clone());
        let state = record.state.clone();
        self.base = Some(Versioned {
            record: Arc::new(record),
            revision: 0,
        });
        let Some(shape) = self.shape().cloned() else {
            return self.ask_for_version();
        };
        let state = shape.state(&state);
        let fork = self.task.from.is_some();
        let runs = state.is_some_and(|state| state.needs_run(false) && !state.checkpoint && !fork);
        // Somebody waits to hear that it has begun; what does not run decides nothing; and a state that has taken an engine
        // with it must be counted.
        let first = self.author.driver.delivery <= 1;
        match self.task.reply_to.is_none() && runs && first {
            true => self.go_on(),
            false => {
                let mut draft = self.draft(&shape);
                draft.settle_in();
                let record = draft.close(&self.author);
                self.write(record, Stage::Applying)
            }
        }
    }

    fn found_origin(&mut self, found: Option<Box<WorkflowCheckpoint>>) -> Action {
        let Some(found) = found else {
            let message = "the checkpoint that it was to begin with does not exist";
            return self.refuse(refusal(codes::NO_SUCH_CHECKPOINT, message.to_owned()));
        };
        if found
            .definition
            .as_ref()
            .is_some_and(|of| *of != self.task.definition)
        {
            let message = "the checkpoint is of a workflow of another definition";
            return self.refuse(refusal(codes::STATE_MISMATCH, message.to_owned()));
        }
        let to = self.task.version.clone().unwrap_or_default();
        let shape = self.shapes.iter().find(|shape| shape.version == to);
        match shape.and_then(|shape| found.former_to(shape)) {
            Some(former) => {
                self.stage = Stage::MigratingOrigin(found);
                Action::Migrate {
                    former: Box::new(former),
                    to,
                }
            }
            None => {
                self.origin = Some(*found);
                self.start()
            }
        }
    }

    fn migrated_origin(
        &mut self,
        origin: WorkflowCheckpoint,
        migrated: Result<Migrated, McpError>,
    ) -> Action {
        match migrated {
            Ok(Migrated { state, data }) => {
                self.origin = Some(WorkflowCheckpoint {
                    state,
                    data,
                    ..origin
                });
                self.start()
            }
            Err(error) => self.refuse(error),
        }
    }

    /// A task came before the workflow's first state has ended: the record is written for it, and the start drives.
    fn found_start(&mut self, start: Option<Box<Task>>) -> Action {
        let Some(start) = start else {
            // It may have been written and acknowledged between the two looks.
            return self.read_again();
        };
        if start.from.is_some() {
            // A fork is written before its first state runs: in a moment there is a record.
            return Action::End(End::Later(ELSEWHERE_DELAY));
        }
        let mut record = match started(&start, &self.shapes, None, self.now_ms) {
            Ok(record) => record,
            // The start itself will be refused.
            Err(error) => return self.refuse(error),
        };
        let driver = Driver {
            task: start.id,
            delivery: 0,
        };
        record.driver = Some(driver.clone());
        record.inbox.push(self.task.clone());
        self.base = Some(Versioned {
            record: Arc::new(record),
            revision: 0,
        });
        let Some(shape) = self.shape().cloned() else {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        };
        let mut draft = self.draft(&shape);
        draft.settle_in();
        let author = Author {
            driver,
            confirmed: HashSet::new(),
        };
        let mut record = draft.close(&author);
        if self.task.stops_at_once() {
            record.status = WorkflowStatus::Stopped;
        }
        self.write(record, Stage::Appending)
    }

    /// Somebody drives: the task waits in the inbox.
    fn append(&mut self) -> Action {
        let Some(mut record) = self.record().cloned() else {
            return Action::End(End::Silent);
        };
        if record.inbox.len() >= MAX_INBOX {
            return Action::End(End::Later(ELSEWHERE_DELAY));
        }
        if self.task.stops_at_once() && record.rest.is_none() {
            record.status = WorkflowStatus::Stopped;
        }
        record.inbox.push(self.task.clone());
        record.epoch += 1;
        record.updated_at = self.now_ms;
        self.write(record, Stage::Appending)
    }

    /// Checkpoints that others have noted copy what this task may change: they are confirmed first.
    fn prepare(&mut self) -> Action {
        if self.shape_for_task().is_none() {
            return self.ask_for_version();
        }
        let pending = self.record().map(|record| record.pending.as_slice());
        let checkpoints: Vec<Effect> = (pending.unwrap_or_default().iter())
            .filter(|effect| effect.kind.comes_first())
            .cloned()
            .collect();
        if checkpoints.is_empty() {
            return self.apply();
        }
        self.stage = Stage::Preparing;
        Action::Confirm {
            effects: checkpoints,
            wait: true,
        }
    }

    /// A stop needs no more of the definition than any version of it has, and what has ended is only looked at: it is
    /// not parked for a late signal.
    fn shape_for_task(&self) -> Option<Arc<WorkflowShape>> {
        if self.task.task == Verb::Migrate {
            let known = self.shape().filter(|_| self.migrates_to_itself()).cloned();
            return self.target_of(&self.task).or(known);
        }
        let ended = (self.record()).is_some_and(|record| record.status.is_ended());
        let any = match self.task.task {
            Verb::Stop => true,
            Verb::Restore | Verb::Resume => false,
            _ => ended,
        };
        let newest = || self.shapes.last().filter(|_| any);
        self.shape().or_else(newest).cloned()
    }

    /// The version that a migration leads to, when this engine has it.
    fn target_of(&self, task: &Task) -> Option<Arc<WorkflowShape>> {
        let version = task
            .version
            .as_deref()
            .filter(|_| task.task == Verb::Migrate)?;
        let mut shapes = self.shapes.iter();
        shapes.find(|shape| shape.version == version).cloned()
    }

    fn migrates_to_itself(&self) -> bool {
        self.record().map(|record| record.version.as_str()) == self.task.version.as_deref()
    }

    fn draft<'a>(&self, shape: &'a WorkflowShape) -> Draft<'a> {
        let record = self.record().cloned();
        let record = record.expect("a draft is made of a record that was read");
        Draft::open(record, shape, self.now_ms)
    }

    fn write(&mut self, record: WorkflowRecord, stage: Stage) -> Action {
        self.stage = stage;
        let revision = self.base.as_ref().map_or(0, |base| base.revision);
        let record = Arc::new(record);
        self.writing = Some(Arc::clone(&record));
        Action::Write(record, revision)
    }

    fn ask_for_version(&mut self) -> Action {
        let own = self.record().map(|record| record.version.clone());
        let target = self.task.version.clone();
        let version = target.filter(|_| self.task.task == Verb::Migrate).or(own);
        self.stage = Stage::Asking;
        Action::AskForVersion(version.unwrap_or_default())
    }

    fn read_again(&mut self) -> Action {
        self.stage = Stage::Reading {
            looked_for_start: true,
        };
        Action::Read
    }

    fn refuse(&mut self, error: McpError) -> Action {
        self.decline(Some(error))
    }

    fn end(&mut self) -> Action {
        let answer = match self.answered {
            true => None,
            false => self.shared_record().cloned().map(Ok),
        };
        Action::End(End::Done(answer))
    }

    /// When the workflow goes on by itself.
    fn timed_wait(&self) -> Option<u64> {
        self.record()?.wait.as_ref()?.until
    }

    /// The server keeps one timer for each workflow. One that was set late, by an engine that slept through the end of its
    /// wait, has taken the place of the one for the present wait: its `wake` does that one's work when that is due.
    fn too_early(&self) -> Option<Duration> {
        let until = self.timed_wait().filter(|until| self.now_ms < *until)?;
        let stray = self.task.task == Verb::Wake && !is_its_timer(self.record()?, &self.task);
        stray.then(|| Duration::from_millis(until - self.now_ms))
    }

    /// Whether the workflow is parked for want of the version that the task says is there.
    fn is_parked_for_task(&self) -> bool {
        self.record().is_some_and(|record| {
            record.status == WorkflowStatus::Parked
                && self.task.version.as_deref() == Some(&record.version)
        })
    }

    fn is_answered_by_others(&self) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        let waits = record
            .inbox
            .iter()
            .any(|waiting| waiting.id == self.task.id);
        let noted = |effect: &Effect| matches!(&effect.kind, EffectKind::Answer { request, .. } if *request == self.task.id);
        waits || record.pending.iter().any(noted)
    }

    fn drives(&self, record: &WorkflowRecord) -> bool {
        record.driver.as_ref() == Some(&self.author.driver)
    }
}
