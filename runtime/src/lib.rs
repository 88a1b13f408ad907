//! The runtime of MCP, the **Multi-agent Communication Protocol**: messages, transport and resilience for
//! agents that talk over NATS JetStream. (It is not the Model Context Protocol.)
//!
//! Agent authors use the crate `mcp-agent-sdk`, which stands on this one. Here are the parts:
//!
//! - [`Client`] connects, sends commands ([`Client::send_command`]) and publishes events.
//! - [`Worker`] is the receiving side of one instance of an agent.
//! - [`EventSubscription`] receives events durably.
//! - [`McpError`] is the error that crosses the wire; [`SendError`] is what a caller sees.
//! - [`resilience`] holds the policies, usable on their own.
//! - [`persistence`] finds what is stored, and keeps what cannot be sent now.
//! - [`DeadLetters`] are what could not be handled.
//! - [`transport`] is what services beside agents stand on, such as the workflow engine.
//! - [`telemetry`] is what all of this tells about itself: spans and figures.
//! - [`topology`] creates or checks the streams and buckets on the server.
//!
//! What is on the wire is described in `PROTOCOL.md`, how the crates fit together in `ARCHITECTURE.md`.

mod action;
mod batch;
mod cancel;
mod client;
mod clock;
mod config;
mod dead_letter;
mod dead_letters;
mod denials;
mod error;
mod events;
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod history;
mod identity;
mod message;
mod nearest;
mod outcome;
mod payload;
pub mod persistence;
mod presence;
mod provenance;
mod receive;
mod replies;
pub mod resilience;
mod script;
mod send;
mod store;
mod submit;
mod targets;
pub mod telemetry;
pub mod topology;
mod trace;
pub mod transport;

pub use action::Action;
pub use client::Client;
pub use config::{Config, ConfigError, DEFAULT_URL, Setup, env_duration, env_parsed, env_size};
pub use dead_letters::{
    DeadLetter, DeadLetterError, DeadLetterFilter, DeadLetters, Edits, OpenedLetter, RedriveReport,
    Redriven,
};
pub use error::{ConnectError, PublishError, ReceiveError, SendError};
pub use events::{EventDelivery, EventHandler, EventSubscription, EventSubscriptionConfig};
pub use history::{Direction, InstanceHistory, MOST_HISTORY, PastKind, PastMessage};
pub use message::{
    CODES, CarriedError, Category, CodeInfo, Command, DecodeError, EncodeError, Event, Format,
    InvalidName, InvalidPriority, Kind, Load, McpError, Name, Namespace, PROTOCOL_VERSION,
    Priority, Progress, Raw, Recovery, Reply, ReplyKind, RetryPolicy, Severity, Status, Token,
    code,
};
pub use outcome::{OutcomeRecord, OutcomeState};
pub use presence::{ActionInfo, InstanceState, PresenceRecord};
pub use receive::{CommandHandler, Invocation, Worker, WorkerConfig};
pub use script::{Script, Scripted};
pub use send::SendCommand;
pub use submit::{SubmitCommand, Submitted};
pub use targets::{BreakerScope, BreakerStatus};
pub use trace::TraceContext;

pub(crate) use clock::unix_ms;
