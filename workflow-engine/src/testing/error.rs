//! What can be wrong with a workflow, or with its test.

use mcp_runtime::McpError;

use crate::definition::DefinitionError;

/// Why a test of a workflow did not come to its end, or to the same one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowTestError {
    /// The definition cannot be run.
    #[error(transparent)]
    Definition(DefinitionError),
    /// A name or value of the test is not valid.
    #[error("the test is not valid: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// A state has asked an action for which the test has no answer.
    #[error(
        "`{agent}.{action}` was asked and has no answer in the script; add `.answer(\"{agent}\", \"{action}\", …)`. It has {}",
        listed(.scripted)
    )]
    Unscripted {
        /// Who was asked.
        agent: String,
        /// For what.
        action: String,
        /// The actions that the script answers.
        scripted: Vec<String>,
    },
    /// A state has started a child of which the test does not say how it ends.
    #[error(
        "`{definition}` was started as a child, and the test does not say how it ends; add `.child(\"{definition}\", …)`. It does of {}",
        listed(.scripted)
    )]
    UnscriptedChild {
        /// The definition of the child.
        definition: String,
        /// The definitions of which the test says it.
        scripted: Vec<String>,
    },
    /// A signal, transition, stop or migration of the test was refused.
    #[error("what the test tells the workflow in `{state}` was refused: {error}")]
    Refused {
        /// The state that it was told in.
        state: String,
        /// Why.
        error: Box<McpError>,
    },
    /// The workflow goes on and on.
    #[error("the workflow comes to no end; it goes in circles, or is too long for a test")]
    TooLong,
    /// A crash has led to another end, or to effects that happened more than once.
    #[error(
        "a crash {place} changes {what}\n  without a crash: {undisturbed}\n  with it:         {crashed}"
    )]
    Differs {
        /// Where the engine died.
        place: String,
        /// What is not the same.
        what: String,
        /// As it is when no engine dies.
        undisturbed: String,
        /// As it was after the crash.
        crashed: String,
    },
}

impl WorkflowTestError {
    pub(super) fn invalid(error: &impl std::fmt::Display) -> Self {
        Self::Invalid {
            reason: error.to_string(),
        }
    }
}

fn listed(actions: &[String]) -> String {
    match actions.is_empty() {
        true => "none".to_owned(),
        false => actions.join(", "),
    }
}
