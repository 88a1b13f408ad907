//! Something that the test tells the workflow, once, when it waits in a state.

use std::time::Duration;

use mcp_runtime::{Name, Raw};

use crate::{
    record::WorkflowRecord,
    task::{Task, Verb},
};

use super::error::WorkflowTestError;

#[derive(Clone)]
pub(super) struct Reaction {
    state: String,
    delay: Duration,
    told: Result<Told, String>,
}

#[derive(Clone)]
enum Told {
    Signal { name: String, data: Raw },
    Transition { to: String },
    Stop { compensate: bool },
    Migrate { version: String },
}

impl Reaction {
    pub(super) fn signal(
        state: &str,
        delay: Duration,
        name: &str,
        data: Result<Raw, String>,
    ) -> Self {
        let name = name.to_owned();
        Self {
            state: state.to_owned(),
            delay,
            told: data.map(|data| Told::Signal { name, data }),
        }
    }

    pub(super) fn transition(state: &str, to: &str) -> Self {
        Self::at_once(state, Told::Transition { to: to.to_owned() })
    }

    pub(super) fn stop(state: &str) -> Self {
        Self::at_once(state, Told::Stop { compensate: false })
    }

    pub(super) fn compensate(state: &str) -> Self {
        Self::at_once(state, Told::Stop { compensate: true })
    }

    pub(super) fn migrate(state: &str, version: &str) -> Self {
        let version = version.to_owned();
        Self::at_once(state, Told::Migrate { version })
    }

    fn at_once(state: &str, told: Told) -> Self {
        Self {
            state: state.to_owned(),
            delay: Duration::ZERO,
            told: Ok(told),
        }
    }

    pub(super) fn is_for(&self, record: &WorkflowRecord) -> bool {
        self.state == record.state.as_str()
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    pub(super) fn task(
        &self,
        record: &WorkflowRecord,
        now_ms: u64,
    ) -> Result<Task, WorkflowTestError> {
        let told = self
            .told
            .clone()
            .map_err(|reason| WorkflowTestError::Invalid { reason })?;
        let named =
            |text: &str| Name::new(text).map_err(|error| WorkflowTestError::invalid(&error));
        let of = |verb| Task::new(verb, record.definition.clone(), record.id.clone(), now_ms);
        Ok(match told {
            Told::Signal { name, data } => Task {
                name: Some(named(&name)?),
                data: Some(data),
                ..of(Verb::Signal)
            },
            Told::Transition { to } => Task {
                to: Some(named(&to)?),
                ..of(Verb::Transition)
            },
            Told::Stop { compensate } => Task {
                compensate,
                ..of(Verb::Stop)
            },
            Told::Migrate { version } => Task {
                version: Some(version),
                ..of(Verb::Migrate)
            },
        })
    }
}
