//! The agents of a test: answers out of a script, and a note of everything they were asked.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mcp_runtime::{Command, Event, McpError, Raw, Script, Scripted, code};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    crash::Crash,
    error::WorkflowTestError,
    outcome::{SentCommand, SentEvent},
};

type Function = dyn Fn(&Raw) -> Result<Raw, McpError> + Send + Sync;

/// One answer.
#[derive(Clone)]
pub(super) struct Answer(Arc<Function>);

impl Answer {
    pub(super) fn of(result: &(impl Serialize + ?Sized)) -> Self {
        let encoded = Raw::encode(result).map_err(|error| internal(&error));
        Self(Arc::new(move |_| encoded.clone()))
    }

    pub(super) fn error(error: McpError) -> Self {
        Self(Arc::new(move |_| Err(error.clone())))
    }

    pub(super) fn by<P, R>(
        function: impl Fn(P) -> Result<R, McpError> + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        Self(Arc::new(move |parameters| {
            let parameters = parameters.decode().map_err(|error| {
                McpError::permanent(code::INVALID_PARAMETERS).message(error.to_string())
            })?;
            Raw::encode(&function(parameters)?).map_err(|error| internal(&error))
        }))
    }
}

impl Answer {
    pub(super) fn to(&self, asked: &Raw) -> Result<Raw, McpError> {
        (self.0)(asked)
    }
}

fn internal(error: &impl std::fmt::Display) -> McpError {
    McpError::permanent(code::INTERNAL).message(format!("a scripted answer: {error}"))
}

/// The answers of one action: some in their order, then one for ever.
#[derive(Clone, Default)]
struct Lines {
    first: VecDeque<Answer>,
    always: Option<Answer>,
}

/// The answers of all agents, by agent and action.
#[derive(Clone, Default)]
pub(super) struct Answers(BTreeMap<(String, String), Lines>);

impl Answers {
    pub(super) fn first(&mut self, agent: &str, action: &str, answer: Answer) {
        self.of(agent, action).first.push_back(answer);
    }

    pub(super) fn always(&mut self, agent: &str, action: &str, answer: Answer) {
        self.of(agent, action).always = Some(answer);
    }

    fn of(&mut self, agent: &str, action: &str) -> &mut Lines {
        let key = (agent.to_owned(), action.to_owned());
        self.0.entry(key).or_default()
    }

    fn next(&mut self, command: &Command) -> Option<Answer> {
        let key = (command.target.to_string(), command.action.to_string());
        let lines = self.0.get_mut(&key)?;
        lines.first.pop_front().or_else(|| lines.always.clone())
    }

    fn names(&self) -> Vec<String> {
        let names = self.0.keys();
        names
            .map(|(agent, action)| format!("`{agent}.{action}`"))
            .collect()
    }
}

type Outcome = Result<Raw, McpError>;

/// Agent, action and idempotency key.
type Key = (String, String, String);

/// The agents of one run.
pub(super) struct AgentScript {
    crash: Arc<Crash>,
    played: Mutex<Played>,
}

struct Played {
    answers: Answers,
    /// Outcomes by agent, action and key, with the parameters that they are for: as the agents keep them.
    outcomes: HashMap<Key, (Raw, Outcome)>,
    commands: Vec<SentCommand>,
    event_ids: HashSet<String>,
    events: Vec<SentEvent>,
    unscripted: Option<WorkflowTestError>,
}

impl AgentScript {
    pub(super) fn new(answers: Answers, crash: Arc<Crash>) -> Self {
        let played = Played {
            answers,
            outcomes: HashMap::new(),
            commands: Vec::new(),
            event_ids: HashSet::new(),
            events: Vec::new(),
            unscripted: None,
        };
        Self {
            crash,
            played: Mutex::new(played),
        }
    }

    fn played(&self) -> MutexGuard<'_, Played> {
        self.played.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when something was asked that nobody answers.
    pub(super) fn check(&self) -> Result<(), WorkflowTestError> {
        self.played().unscripted.clone().map_or(Ok(()), Err)
    }

    /// What was executed, without what was only answered again.
    pub(super) fn sent(&self) -> (Vec<SentCommand>, Vec<SentEvent>) {
        let played = self.played();
        (played.commands.clone(), played.events.clone())
    }
}

impl Played {
    fn note(&mut self, event: &Event, message_id: &str) {
        if self.event_ids.insert(message_id.to_owned()) {
            let (name, data) = (event.name.to_string(), event.data.clone());
            self.events.push(SentEvent { name, data });
        }
    }

    fn execute(&mut self, command: &Command) -> Result<Raw, McpError> {
        let (agent, action) = (command.target.to_string(), command.action.to_string());
        let kept = command
            .idempotency_key
            .clone()
            .map(|key| (agent.clone(), action.clone(), key));
        if let Some((parameters, outcome)) = kept.as_ref().and_then(|kept| self.outcomes.get(kept))
        {
            return match *parameters == command.parameters {
                true => outcome.clone(),
                false => Err(McpError::permanent(code::IDEMPOTENCY_CONFLICT)
                    .message("the key was used before, with other parameters")),
            };
        }
        let Some(answer) = self.answers.next(command) else {
            let scripted = self.answers.names();
            let error = WorkflowTestError::Unscripted {
                agent,
                action,
                scripted,
            };
            let told = McpError::permanent(code::UNKNOWN_ACTION).message(error.to_string());
            self.unscripted.get_or_insert(error);
            return Err(told);
        };
        let outcome = answer.to(&command.parameters);
        // A temporary error frees the key.
        let stands = !matches!(&outcome, Err(error) if error.is_temporary());
        if let Some(kept) = kept.filter(|_| stands) {
            let parameters = command.parameters.clone();
            self.outcomes.insert(kept, (parameters, outcome.clone()));
        }
        self.commands.push(SentCommand {
            agent,
            action,
            parameters: command.parameters.clone(),
            key: command.idempotency_key.clone(),
            outcome: outcome.clone(),
        });
        outcome
    }
}

impl Script for AgentScript {
    fn command<'a>(&'a self, command: &'a Command) -> Scripted<'a, Result<Raw, McpError>> {
        let place = |when: &str| format!("{when} `{}.{}`", command.target, command.action);
        Box::pin(async move {
            self.crash.pass(|| place("before")).await;
            let outcome = self.played().execute(command);
            self.crash.pass(|| place("after")).await;
            outcome
        })
    }

    fn event<'a>(&'a self, event: &'a Event, message_id: &'a str) -> Scripted<'a, ()> {
        let place = |when: &str| format!("{when} the event `{}`", event.name);
        Box::pin(async move {
            self.crash.pass(|| place("before")).await;
            self.played().note(event, message_id);
            self.crash.pass(|| place("after")).await;
        })
    }
}
