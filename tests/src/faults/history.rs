//! What was done and what was broken, in the order of one machine's clock.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use mcp_agent_sdk::Submitted;
use serde::Serialize;

/// What kind of thing a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A command without a key, one attempt.
    Command,
    /// A command with an idempotency key, retried by its sender.
    Keyed,
    /// A command that is handed over.
    Submit,
    /// A submitted command whose handler fails at first, and is retried by the runtime or buried; or is slow.
    Failing,
    /// A workflow of the probe, created and told to go on.
    Workflow,
    /// Bytes that are no command.
    Malformed,
}

/// How an operation ended for whoever began it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ending {
    /// The server has said that it is stored.
    Stored,
    /// A result, and what tells the execution that made it from any other.
    Answered { execution: String },
    /// An error that says what became of it.
    Refused { code: String },
    /// Nobody knows what became of it.
    Unknown { code: String },
}

/// One operation of one client.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// What it takes effect under: the key of an effect, or the id of a workflow.
    pub(super) key: String,
    /// Of a workflow: a checkpoint was kept, the server says.
    pub(super) kept: bool,
    pub(super) began_ms: u64,
    /// `None`: it never came to an end.
    pub(super) ended: Option<(u64, Ending)>,
}

/// Something that was broken for a while.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Broken {
    pub(super) what: String,
    /// Whom it has hit; `None`: everybody.
    pub(super) instance: Option<String>,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
}

/// What a checker is given.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct History {
    pub(super) operations: Vec<Operation>,
    pub(super) broken: Vec<Broken>,
    /// While the load ran.
    pub(super) load_ms: (u64, u64),
    /// Instances whose clocks are off, and by how many milliseconds.
    pub(super) clocks: BTreeMap<String, i64>,
    /// What a cell saw itself that must not be.
    pub(super) remarks: Vec<(&'static str, String)>,
}

/// A history that is being written.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    history: Mutex<History>,
    /// Those that were handed over, by key, to ask for their outcomes.
    submitted: Mutex<Vec<(String, Submitted)>>,
}

impl Recorder {
    /// Notes that an operation begins; the number is for [`Recorder::ends`].
    pub(super) fn begins(&self, kind: Kind, key: &str) -> usize {
        let mut history = self.lock();
        history.operations.push(Operation {
            kind,
            key: key.to_owned(),
            kept: false,
            began_ms: now_ms(),
            ended: None,
        });
        history.operations.len() - 1
    }

    pub(super) fn ends(&self, number: usize, ending: Ending) {
        if let Some(operation) = self.lock().operations.get_mut(number) {
            operation.ended = Some((now_ms(), ending));
        }
    }

    pub(super) fn keeps(&self, number: usize) {
        if let Some(operation) = self.lock().operations.get_mut(number) {
            operation.kept = true;
        }
    }

    pub(super) fn submitted(&self, key: &str, submitted: Submitted) {
        let mut all = self
            .submitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push((key.to_owned(), submitted));
    }

    pub(super) fn all_submitted(&self) -> Vec<(String, Submitted)> {
        let all = self
            .submitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// Notes that something is whole again, or gone for good.
    pub(super) fn broke(&self, what: &str, instance: Option<&str>, from_ms: u64) {
        self.lock().broken.push(Broken {
            what: what.to_owned(),
            instance: instance.map(str::to_owned),
            from_ms,
            until_ms: now_ms(),
        });
    }

    /// Notes that an agent's clock is off.
    pub(super) fn clock_is_off(&self, instance: &str, by_ms: i64) {
        self.lock().clocks.insert(instance.to_owned(), by_ms);
    }

    /// Notes what a cell saw itself, and which invariant it breaks.
    pub(super) fn remarks(&self, invariant: &'static str, text: String) {
        self.lock().remarks.push((invariant, text));
    }

    pub(super) fn load_began(&self) {
        self.lock().load_ms = (now_ms(), u64::MAX);
    }

    pub(super) fn load_ended(&self) {
        self.lock().load_ms.1 = now_ms();
    }

    pub(super) fn so_far(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
