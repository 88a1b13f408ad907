//! What is to become of a command, once it is known.

use std::time::Duration;

use crate::{
    dead_letter::Autopsy,
    message::{Command, McpError, Reply, code},
};

/// What is to become of a command.
pub(super) enum Verdict {
    /// It has come to its end.
    Final(Box<Final>),
    /// The runtime tries again.
    Retry {
        after: Duration,
        /// Not by this instance, where another is alive.
        elsewhere: bool,
        failures: u32,
    },
    /// It has not come to its turn and is stored anew, to come again after this.
    Later(Duration),
    /// Another instance has it or will have it: nothing is said and nothing settled.
    Abandon,
}

/// The end of a command.
pub(super) struct Final {
    pub(super) frame: Reply,
    /// The errors of all attempts, the oldest first; empty after a success.
    pub(super) errors: Vec<McpError>,
}

impl Verdict {
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Final(_))
    }

    pub(super) fn end(frame: Reply, errors: Vec<McpError>) -> Self {
        Self::Final(Box::new(Final { frame, errors }))
    }
}

impl Final {
    /// What belongs among the dead letters: a failure that nobody hears of, that the runtime retried, or
    /// that an operator has to see.
    pub(super) fn autopsy(&self, command: &Command) -> Option<Autopsy> {
        let last = self.errors.last()?;
        let unheard = command.reply_to.is_none() || command.retry.is_some();
        if !unheard && last.code != code::POISON {
            return None;
        }
        Some(Autopsy {
            reason: last.code.clone(),
            attempts: self.frame.attempt,
            errors: self.errors.clone(),
        })
    }
}
