//! The rows, by group. Each group has a server of its own, so that what one leaves behind does not slow the next.

pub(crate) mod commands;
pub(crate) mod events;
pub(crate) mod overload;
pub(crate) mod tracing;
pub(crate) mod workflows;
