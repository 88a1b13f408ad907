//! The protocol's types: what travels, how it is named and how it is encoded.
//!
//! Nothing here touches the network. `PROTOCOL.md` is the contract these types follow.

mod catalogue;
mod codec;
mod command;
mod error;
mod event;
mod name;
pub(crate) mod pack;
mod raw;
mod reply;
mod subject;

pub use catalogue::{CODES, CodeInfo};
pub use codec::{DecodeError, EncodeError, Format};
pub use command::{Command, Kind, RetryPolicy};
pub use error::{CarriedError, Category, McpError, Recovery, Severity, code};
pub use event::Event;
pub use name::{InvalidName, Name, Token};
pub use raw::Raw;
pub use reply::{Load, Progress, Reply, ReplyKind, Status};
pub use subject::{InvalidPriority, Namespace, Priority};

pub use command::new_message_id;

pub(crate) use command::is_message_id;
pub(crate) use reply::Answerer;
pub(crate) use subject::CommandSubject;

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u8 = 1;
