//! One module per command: its arguments and what it does.

pub(crate) mod agents;
pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod breakers;
pub(crate) mod cancel;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod messages;
pub(crate) mod new;
pub(crate) mod outcome;
pub(crate) mod restore;
pub(crate) mod send;
pub(crate) mod setup;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod workflow;
