//! What a caller sees when a workflow cannot be had.

use std::{fmt, sync::LazyLock, time::Duration};

use mcp_runtime::{CarriedError, McpError, code};

/// Why something could not be done with a workflow.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkflowError {
    /// Something in the request is not valid.
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// No engine has ever brought the definition.
    NoSuchDefinition {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// There is no workflow of this id.
    NoSuchWorkflow {
        /// What was asked for.
        id: String,
    },
    /// The engine refused, with one of the protocol's codes.
    Refused(CarriedError),
    /// The request is stored, but no engine has taken it up in time.
    NoAnswer {
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The server cannot be reached or does not store.
    Transport {
        /// What was seen.
        reason: String,
    },
}

impl std::error::Error for WorkflowError {
    /// What the error is on the wire: in a handler, `?` turns it into that.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Refused(refused) => refused,
            Self::Invalid { .. } => &*INVALID,
            Self::NoSuchDefinition { .. } => &*NO_SUCH_DEFINITION,
            Self::NoSuchWorkflow { .. } => &*NO_SUCH_WORKFLOW,
            Self::NoAnswer { .. } => &*NO_ANSWER,
            Self::Transport { .. } => &*TRANSPORT,
        })
    }
}

type Carried = LazyLock<CarriedError>;

static INVALID: Carried =
    LazyLock::new(|| CarriedError(McpError::permanent(code::INVALID_PARAMETERS)));
static NO_SUCH_DEFINITION: Carried =
    LazyLock::new(|| CarriedError(McpError::permanent(code::NO_SUCH_DEFINITION)));
static NO_SUCH_WORKFLOW: Carried =
    LazyLock::new(|| CarriedError(McpError::permanent(code::NO_SUCH_WORKFLOW)));
static NO_ANSWER: Carried = LazyLock::new(|| CarriedError(McpError::temporary(code::TIMEOUT)));
static TRANSPORT: Carried =
    LazyLock::new(|| CarriedError(McpError::temporary(code::TRANSPORT_UNAVAILABLE)));

impl WorkflowError {
    pub(crate) fn refused(error: McpError) -> Self {
        Self::Refused(CarriedError(error))
    }

    /// The error code, as it would be on the wire.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(CarriedError(error)) => &error.code,
            Self::Invalid { .. } => &INVALID.0.code,
            Self::NoSuchDefinition { .. } => &NO_SUCH_DEFINITION.0.code,
            Self::NoSuchWorkflow { .. } => &NO_SUCH_WORKFLOW.0.code,
            Self::NoAnswer { .. } => &NO_ANSWER.0.code,
            Self::Transport { .. } => &TRANSPORT.0.code,
        }
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { reason } | Self::Transport { reason } => f.write_str(reason),
            Self::NoSuchDefinition { name, known } => {
                write!(f, "there is no workflow definition `{name}`{}", list(known))
            }
            Self::NoSuchWorkflow { id } => write!(f, "there is no workflow `{id}`"),
            Self::Refused(CarriedError(error)) => f.write_str(&error.message),
            Self::NoAnswer { waited } => write!(
                f,
                "no engine has answered within {waited:?}; the request is stored and will be done"
            ),
        }
    }
}

fn list(known: &[String]) -> String {
    match known {
        [] => "; no agent with workflows has been started yet".to_owned(),
        known => format!("; there are {}", known.join(", ")),
    }
}
