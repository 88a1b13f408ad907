//! The error that crosses the wire, with advice for whoever receives it.

use std::{any::Any, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::{as_millis, from_millis};

/// The codes that the runtime itself uses; handlers add their own. Cause and remedy of each: [`CODES`](crate::CODES).
pub mod code {
    /// The action cannot read its parameters; `details.field` names the field.
    pub const INVALID_PARAMETERS: &str = "INVALID_PARAMETERS";
    /// The body is not a version 1 command, or disagrees with its subject.
    pub const INVALID_MESSAGE: &str = "INVALID_MESSAGE";
    /// The agent has no such action; `details.actions` lists what it has.
    pub const UNKNOWN_ACTION: &str = "UNKNOWN_ACTION";
    /// The command was taken up after its `ttl_ms`.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// The command was cancelled.
    pub const CANCELLED: &str = "CANCELLED";
    /// The idempotency key was used with other parameters.
    pub const IDEMPOTENCY_CONFLICT: &str = "IDEMPOTENCY_CONFLICT";
    /// The body is over the limit.
    pub const PAYLOAD_TOO_LARGE: &str = "PAYLOAD_TOO_LARGE";
    /// The command has killed its workers.
    pub const POISON: &str = "POISON";
    /// The handler panicked; the agent goes on.
    pub const HANDLER_PANICKED: &str = "HANDLER_PANICKED";
    /// The agent is full.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The instance is shutting down.
    pub const DRAINING: &str = "DRAINING";
    /// No reply in time; `details.queued` says whether the command is stored.
    pub const TIMEOUT: &str = "TIMEOUT";
    /// Refused before publishing because the target keeps failing.
    pub const CIRCUIT_OPEN: &str = "CIRCUIT_OPEN";
    /// Over the rate that the target can take.
    pub const RATE_LIMITED: &str = "RATE_LIMITED";
    /// No instance of the target is alive, and the caller requires one.
    pub const NO_INSTANCE: &str = "NO_INSTANCE";
    /// The server cannot be reached or does not store.
    pub const TRANSPORT_UNAVAILABLE: &str = "TRANSPORT_UNAVAILABLE";
    /// The server refused the subject; `details.subject`.
    pub const PERMISSION_DENIED: &str = "PERMISSION_DENIED";
    /// A handler failed with an error that says nothing about itself.
    pub const INTERNAL: &str = "INTERNAL";
    /// There is no workflow of this id.
    pub const NO_SUCH_WORKFLOW: &str = "NO_SUCH_WORKFLOW";
    /// No engine has ever brought the workflow definition.
    pub const NO_SUCH_DEFINITION: &str = "NO_SUCH_DEFINITION";
    /// The definition has no such state.
    pub const NO_SUCH_STATE: &str = "NO_SUCH_STATE";
    /// The definition allows no such transition.
    pub const ILLEGAL_TRANSITION: &str = "ILLEGAL_TRANSITION";
    /// The workflow has no checkpoint of this name.
    pub const NO_SUCH_CHECKPOINT: &str = "NO_SUCH_CHECKPOINT";
    /// The workflow has ended.
    pub const WORKFLOW_ENDED: &str = "WORKFLOW_ENDED";
    /// The id belongs to a workflow of another definition.
    pub const WORKFLOW_EXISTS: &str = "WORKFLOW_EXISTS";
    /// The workflow is not in the expected state.
    pub const STATE_MISMATCH: &str = "STATE_MISMATCH";
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Category {
    /// The same command may succeed later.
    Temporary,
    /// It will not.
    Permanent,
}

/// How bad it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// Part of normal work.
    Low,
    /// Worth a look.
    #[default]
    Medium,
    /// Somebody is waiting.
    High,
    /// Somebody should be woken.
    Critical,
}

/// What the callee advises the caller to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Recovery {
    /// Send it again later.
    Retry,
    /// Send it again, to another instance.
    RetryElsewhere,
    /// Do it another way.
    Fallback,
    /// Undo what was done before it.
    Compensate,
    /// Ask a person.
    AskHuman,
    /// Give up.
    Abort,
}

/// A structured error: what went wrong, whether trying again can help, and how.
///
/// ```
/// use std::time::Duration;
/// use mcp_runtime::McpError;
/// let busy = McpError::temporary("GPU_BUSY")
///     .message("all four GPUs are rendering")
///     .retry_after(Duration::from_secs(2))
///     .max_retries(5);
/// assert!(busy.is_temporary());
/// ```
///
/// It does not implement [`std::error::Error`], so that `?` in a handler can turn any other error into
/// one: TEMPORARY, code `INTERNAL`, with the chain of causes in `details.chain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct McpError {
    /// Upper snake case; one of [`code`] or the handler's own.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Whether trying again can help.
    pub category: Category,
    /// How bad it is.
    #[serde(rename = "error_severity", default)]
    pub severity: Severity,
    /// What the caller should do.
    #[serde(rename = "recovery_strategy")]
    pub recovery: Recovery,
    /// The callee's advice; a caller takes the smaller of its own and this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The callee's advice: no retry sooner.
    #[serde(
        rename = "retry_delay_ms",
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_millis",
        deserialize_with = "from_millis"
    )]
    pub retry_delay: Option<Duration>,
    /// Anything for programs.
    #[serde(
        default,
        deserialize_with = "map_or_null",
        skip_serializing_if = "Map::is_empty"
    )]
    pub details: Map<String, Value>,
}

/// Details by which the policies of whoever sends tell apart what concerns them.
const REFUSED_BY: &str = "refused_by";
const SENDER: &str = "sender";
const LIMIT_ON: &str = "limit_on";

fn map_or_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl McpError {
    /// An error that may go away by itself; the advice is to retry.
    #[must_use]
    pub fn temporary(code: impl Into<String>) -> Self {
        Self::new(code.into(), Category::Temporary, Recovery::Retry)
    }

    /// An error that will not go away; the advice is to give up.
    #[must_use]
    pub fn permanent(code: impl Into<String>) -> Self {
        Self::new(code.into(), Category::Permanent, Recovery::Abort)
    }

    fn new(code: String, category: Category, recovery: Recovery) -> Self {
        Self {
            code,
            message: String::new(),
            category,
            severity: Severity::default(),
            recovery,
            max_retries: None,
            retry_delay: None,
            details: Map::new(),
        }
    }

    /// Says what went wrong, for people.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Says how bad it is (default MEDIUM).
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Advises what to do (default RETRY for temporary errors, ABORT for permanent ones).
    #[must_use]
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// Advises not to retry sooner than this.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_delay = Some(delay);
        self
    }

    /// Advises not to retry more often than this.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = Some(max_retries);
        self
    }

    /// Adds a detail for programs.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    /// Says that a policy of whoever sends refused it, on behalf of another target: an agent that passes it on is itself
    /// neither overloaded nor broken.
    pub(crate) fn refused_by_sender(self) -> Self {
        self.detail(REFUSED_BY, SENDER)
    }

    pub(crate) fn is_refusal_of_sender(&self) -> bool {
        self.details.get(REFUSED_BY).is_some_and(|by| by == SENDER)
    }

    /// Says that only this action has no room.
    pub(crate) fn of_limit_on(self, action: &str) -> Self {
        self.detail(LIMIT_ON, action)
    }

    pub(crate) fn is_of_one_limit(&self) -> bool {
        self.code == code::OVERLOADED && self.details.contains_key(LIMIT_ON)
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.category == Category::Temporary
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        let mut chain = Vec::new();
        let mut cause = error.source();
        // A chain longer than this is a cycle.
        while let (Some(error), true) = (cause, chain.len() < 16) {
            chain.push(Value::from(error.to_string()));
            cause = error.source();
        }
        let internal = Self::temporary(code::INTERNAL).message(error.to_string());
        match chain.is_empty() {
            true => internal,
            false => internal.detail("chain", chain),
        }
    }
}

impl fmt::Display for McpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.message),
        }
    }
}

/// How an error of another crate crosses the wire: one that has this among its sources becomes this error, where `?`
/// in a handler meets it. Without a message it takes the text of the error that carries it.
#[derive(Debug, Clone, PartialEq)]
pub struct CarriedError(pub McpError);

impl fmt::Display for CarriedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.code)
    }
}

impl std::error::Error for CarriedError {}

// Errors of our own verbs keep the category and the advice that they carry.
impl<E: std::error::Error + 'static> From<E> for McpError {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(error) = any.downcast_ref::<crate::SendError>() {
            return error.to_mcp_error();
        }
        let carried = error.source().and_then(|source| source.downcast_ref());
        match carried {
            Some(CarriedError(carried)) if carried.message.is_empty() => {
                carried.clone().message(error.to_string())
            }
            Some(CarriedError(carried)) => carried.clone(),
            None => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Format;

    #[test]
    fn errors_use_the_names_of_the_protocol() {
        let error = McpError::temporary("GPU_BUSY")
            .retry_after(Duration::from_millis(250))
            .recovery(Recovery::RetryElsewhere);
        let json: Value = serde_json::to_value(&error).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "code": "GPU_BUSY", "message": "", "category": "TEMPORARY", "error_severity": "MEDIUM",
                "recovery_strategy": "RETRY_ELSEWHERE", "retry_delay_ms": 250
            })
        );
        let body = Format::Msgpack.encode(&error).unwrap();
        assert_eq!(Format::Msgpack.decode::<McpError>(&body).unwrap(), error);
    }

    #[test]
    fn any_error_becomes_temporary_with_its_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot draw the scene")]
        struct Outer(#[source] std::io::Error);
        fn handler() -> Result<(), McpError> {
            Err(Outer(std::io::Error::other("disk is gone")))?
        }
        let error = handler().unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.category),
            (code::INTERNAL, Category::Temporary)
        );
        assert_eq!(error.details["chain"], serde_json::json!(["disk is gone"]));
    }
}
