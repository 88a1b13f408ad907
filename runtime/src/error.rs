//! The errors of the client's verbs.

use std::time::Duration;

use crate::{
    config::ConfigError,
    denials::Denied,
    message::{Category, DecodeError, McpError, code},
    topology::TopologyError,
};

/// Why a client could not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// Nothing answers there.
    #[error("no server at {url}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the connection said.
        source: async_nats::ConnectError,
    },
    /// The server does not let this identity in.
    #[error("the server at {url} refused the credentials")]
    Refused {
        /// The server.
        url: String,
        /// What it said.
        source: async_nats::ConnectError,
    },
    /// The server lets this identity in, but not use what every client needs.
    #[error("the server at {url} does not let this identity use {subject}")]
    PermissionDenied {
        /// The server.
        url: String,
        /// What was published or subscribed to.
        subject: String,
    },
    /// A file of the identity cannot be read: credentials, key or certificate.
    #[error("cannot read the credentials file {path}")]
    Credentials {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server cannot do what is needed, or holds something else under our names.
    #[error("the server at {url} cannot be used")]
    Topology {
        /// The server.
        url: String,
        /// What is wrong.
        source: Box<TopologyError>,
    },
    /// The outbox cannot be used.
    #[error("the outbox cannot be used")]
    Outbox(#[from] Box<crate::persistence::PersistenceError>),
    /// The connection was lost while it was being set up.
    #[error("the connection to {url} was lost while it was being set up")]
    Lost {
        /// The server.
        url: String,
    },
}

impl ConnectError {
    /// Whether waiting can help: a server that is not there yet, as against one that refuses.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Topology { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

/// Why a command did not bring back a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The target answered with an error.
    #[error("{target}.{action} answered {error}{}", attempts_text(*attempts))]
    Answered {
        /// The agent.
        target: String,
        /// The action.
        action: String,
        /// Its answer, to the last attempt.
        error: Box<McpError>,
        /// How often it was asked.
        attempts: u32,
    },
    /// No answer in time.
    #[error("{target}.{action} did not answer within {}{}; the command is {}", humantime::format_duration(*timeout), attempts_text(*attempts), queued_text(*queued))]
    Timeout {
        /// The agent.
        target: String,
        /// The action.
        action: String,
        /// How long was waited.
        timeout: Duration,
        /// Whether the command is stored and will still be done when somebody takes it up in time.
        queued: bool,
        /// How often it was asked.
        attempts: u32,
    },
    /// The server cannot be reached or does not store.
    #[error("cannot reach the server: {reason}")]
    Transport {
        /// What failed.
        reason: String,
    },
    /// This connection may not publish there.
    #[error("the server does not let this connection publish to {subject}")]
    PermissionDenied {
        /// What was published to.
        subject: String,
    },
    /// Refused before publishing: the target keeps failing.
    #[error("the circuit to `{target}` is {}; worth another try in {}", open_text(*forced), humantime::format_duration(whole_millis(*retry_after)))]
    CircuitOpen {
        /// The agent.
        target: String,
        /// What is left of the open time.
        retry_after: Duration,
        /// Whether an operator holds it open.
        forced: bool,
    },
    /// Refused before publishing: more than the target can take.
    #[error("the rate limit of `{target}` leaves no room in time; worth another try in {}", humantime::format_duration(whole_millis(*retry_after)))]
    RateLimited {
        /// The agent.
        target: String,
        /// How long it would have to wait at least.
        retry_after: Duration,
    },
    /// Nobody listens for realtime commands of this agent now.
    #[error("no instance of `{target}` is listening for realtime commands")]
    NobodyListens {
        /// The agent.
        target: String,
    },
    /// Refused before publishing: no instance of the target is alive, and the caller requires one.
    #[error("no instance of `{target}` is online")]
    NoInstance {
        /// The agent.
        target: String,
    },
    /// The message is larger than the server takes.
    #[error("the message of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Of body and headers.
        size: usize,
        /// The server's.
        limit: usize,
    },
    /// The call itself is not valid: a name, or parameters that cannot be encoded.
    #[error("the command cannot be sent: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The result has another shape than the caller expects.
    #[error("{target}.{action} answered with a result of another shape")]
    UnexpectedResult {
        /// The agent.
        target: String,
        /// The action.
        action: String,
        /// What could not be read.
        source: DecodeError,
    },
}

/// Rounded up: whoever comes back then must not be early.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
    )
}

fn attempts_text(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        more => format!(" after {more} attempts"),
    }
}

fn open_text(forced: bool) -> &'static str {
    match forced {
        true => "held open by an operator",
        false => "open",
    }
}

fn queued_text(queued: bool) -> &'static str {
    match queued {
        true => "stored and waits in its queue",
        false => "not known to be stored",
    }
}

impl SendError {
    /// Notes how often the target was asked.
    pub(crate) fn after(mut self, made: u32) -> Self {
        if let Self::Timeout { attempts, .. } | Self::Answered { attempts, .. } = &mut self {
            *attempts = made;
        }
        self
    }

    /// The error in the protocol's form, with the callee's own where there is one.
    #[must_use]
    pub fn to_mcp_error(&self) -> McpError {
        let message = self.to_string();
        match self {
            Self::Answered { error, .. } => (**error).clone(),
            Self::Timeout { queued, .. } => McpError::temporary(code::TIMEOUT)
                .message(message)
                .detail("queued", *queued),
            Self::Transport { .. } | Self::NobodyListens { .. } => {
                McpError::temporary(code::TRANSPORT_UNAVAILABLE).message(message)
            }
            Self::NoInstance { .. } => McpError::temporary(code::NO_INSTANCE).message(message),
            Self::PermissionDenied { subject } => McpError::permanent(code::PERMISSION_DENIED)
                .message(message)
                .detail("subject", subject.as_str()),
            Self::CircuitOpen {
                retry_after,
                forced,
                ..
            } => {
                let error = McpError::temporary(code::CIRCUIT_OPEN)
                    .message(message)
                    .refused_by_sender()
                    .retry_after(whole_millis(*retry_after));
                match forced {
                    true => error.detail("forced", true),
                    false => error,
                }
            }
            Self::RateLimited { retry_after, .. } => McpError::temporary(code::RATE_LIMITED)
                .message(message)
                .refused_by_sender()
                .retry_after(whole_millis(*retry_after)),
            Self::TooLarge { .. } => McpError::permanent(code::PAYLOAD_TOO_LARGE).message(message),
            Self::Invalid { .. } => McpError::permanent(code::INVALID_MESSAGE).message(message),
            Self::UnexpectedResult { source, .. } => {
                let error = McpError::permanent(code::INVALID_MESSAGE)
                    .message(format!("{message}: {source}"));
                match source.field() {
                    Some(field) => error.detail("field", field),
                    None => error,
                }
            }
        }
    }

    /// The code of [`SendError::to_mcp_error`].
    #[must_use]
    pub fn code(&self) -> String {
        self.to_mcp_error().code
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.to_mcp_error().category == Category::Temporary
    }
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// This connection may not publish there.
    #[error("the server does not let this connection publish to {subject}")]
    PermissionDenied {
        /// What was published to.
        subject: String,
    },
    /// The server cannot be reached or does not store.
    #[error("cannot store the event: {reason}")]
    Transport {
        /// What failed.
        reason: String,
    },
    /// The message is larger than the server takes.
    #[error("the event of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Of body and headers.
        size: usize,
        /// The server's.
        limit: usize,
    },
    /// The event itself is not valid: its name, or data that cannot be encoded.
    #[error("the event cannot be published: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
}

impl PublishError {
    /// The code under which the protocol knows the failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PermissionDenied { .. } => code::PERMISSION_DENIED,
            Self::Transport { .. } => code::TRANSPORT_UNAVAILABLE,
            Self::TooLarge { .. } => code::PAYLOAD_TOO_LARGE,
            Self::Invalid { .. } => code::INVALID_MESSAGE,
        }
    }
}

/// Why a subscription or a worker could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A consumer is missing or differs.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// This connection may not use a subject that the worker needs.
    #[error("the server does not let this connection use {subject}")]
    PermissionDenied {
        /// What was published or subscribed to.
        subject: String,
    },
    /// The connection is closed.
    #[error("cannot subscribe to {subject}: {reason}")]
    Subscribe {
        /// What was subscribed to.
        subject: String,
        /// What failed.
        reason: String,
    },
    /// The presence record could not be written.
    #[error("cannot write the presence record: {reason}")]
    Presence {
        /// What failed.
        reason: String,
    },
}

impl From<Denied> for ReceiveError {
    fn from(denied: Denied) -> Self {
        Self::PermissionDenied {
            subject: denied.subject,
        }
    }
}
