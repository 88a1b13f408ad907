//! One module per command: its arguments and what it does.

pub(crate) mod agents;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod new;
pub(crate) mod send;
pub(crate) mod setup;
