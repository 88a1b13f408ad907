//! One delivery of one task, from the first read of the record to the acknowledgement.
//!
//! A machine without hands: it says what is to be done next ([`Action`]) and is told what came of it ([`Input`]). All
//! rules about who may write what, and when, are here.

mod begin;
mod decide;
mod decline;
mod note;
mod run;
#[cfg(test)]
mod samples;
mod stage;
mod step;
mod take;
mod version;

use std::{collections::HashSet, sync::Arc, time::Duration};

use mcp_runtime::{McpError, Name};

use crate::{
    checkpoint::WorkflowCheckpoint,
    effect::Effect,
    record::{Driver, LabelProgress, WorkflowRecord},
    shape::WorkflowShape,
    task::{Origin, Task},
};

use super::{
    Former, Migrated, Need, Supplies,
    advance::Ran,
    draft::{Author, Draft},
    started::Shapes,
};

use stage::{Migrations, Purpose, Room, Stage, Takeover};

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

    fn drives(&self, record: &WorkflowRecord) -> bool {
        record.driver.as_ref() == Some(&self.author.driver)
    }
}
