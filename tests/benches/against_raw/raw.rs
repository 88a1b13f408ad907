//! What ours is compared with: async-nats as somebody would use it who needs speed and nothing else.

mod chain;
mod command;
mod packs;
mod pipeline;
mod swap;

pub(crate) use chain::Chains;
pub(crate) use command::{Caller, Worker};
pub(crate) use packs::{PackCaller, Packs};
pub(crate) use pipeline::{consume, publish};
pub(crate) use swap::Buckets;
