//! What to do about a key: pure, given what lies under it, which delivery asks and what time it is.
//!
//! The [simulation](super::simulation) plays thousands of schedules against these same functions.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    message::McpError,
    outcome::{Found, OutcomeState},
};

/// An owner that lives renews its reservation every third of 10 s; one that has not for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_millis(4_500);

/// What to do about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It has come to its end; the record says how.
    Replay,
    /// It was used with other parameters.
    Conflict,
    /// Another instance works on it, or may.
    Wait,
    /// It may be reserved.
    Take,
}

/// What of a delivery decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    /// Of the message in its stream; 0 when it lies in none.
    pub(super) sequence: u64,
    pub(super) command_id: &'a str,
    pub(super) parameters_sha256: &'a str,
    /// This instance.
    pub(super) instance: &'a str,
}

/// How an execution ended, as far as its record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The runtime tries again: the record keeps the errors.
    Failing,
    /// It stands.
    Done,
    /// The key is free again; for a minute the record tells how it ended.
    Released,
}

/// All looks of one delivery at its key.
#[derive(Debug, Default)]
pub(super) struct Looks {
    legacy: Option<Legacy>,
}

/// A reservation of the same message by somebody who may be gone.
#[derive(Debug)]
struct Legacy {
    revision: u64,
    seen_at: Instant,
    errors: Vec<McpError>,
}

impl Looks {
    /// After one more look.
    pub(super) fn decide(&mut self, found: &Found, asking: &Asking<'_>, now: Instant) -> Action {
        let Some(record) = &found.record else {
            return Action::Take;
        };
        let same_message = record.sequence == asking.sequence && record.sequence != 0;
        if found.released {
            // Our own last attempt, whose acknowledgement was lost; anything else begins anew.
            return match same_message && record.command_id == asking.command_id {
                true => Action::Replay,
                false => Action::Take,
            };
        }
        if record.parameters_sha256 != asking.parameters_sha256 {
            return Action::Conflict;
        }
        match record.state {
            OutcomeState::Done => Action::Replay,
            OutcomeState::Failing => Action::Take,
            // Our own, left by an execution that was abandoned: in this process nobody works on it now.
            OutcomeState::Reserved if record.owner == asking.instance => Action::Take,
            // That of this very message. Mostly its first owner is gone; but a server that restarts may deliver again
            // what somebody works on.
            OutcomeState::Reserved if same_message => self.wait_for_silence(found, now),
            OutcomeState::Reserved => Action::Wait,
        }
    }

    /// Once its owner has shown no sign of life for a while, counted from when it was first seen like this.
    fn wait_for_silence(&mut self, found: &Found, now: Instant) -> Action {
        let seen_before = (self.legacy.as_ref())
            .filter(|legacy| legacy.revision == found.revision)
            .map(|legacy| legacy.seen_at);
        if seen_before.is_none() {
            let errors = found.record.as_ref().map(|record| record.errors.clone());
            self.legacy = Some(Legacy {
                revision: found.revision,
                seen_at: now,
                errors: errors.unwrap_or_default(),
            });
        }
        match now.duration_since(seen_before.unwrap_or(now)) >= SILENCE {
            true => Action::Take,
            false => Action::Wait,
        }
    }

    /// Whether it is a reservation of this very message that was waited for.
    pub(super) fn inherits(&self) -> bool {
        self.legacy.is_some()
    }

    /// The errors of earlier attempts, which whoever takes the key goes on with.
    pub(super) fn errors(&self, found: &Found) -> Vec<McpError> {
        if found.released {
            return Vec::new();
        }
        let recorded = found.record.as_ref().map(|record| &record.errors);
        // It may have expired while its owner was waited for.
        let left = recorded.or_else(|| self.legacy.as_ref().map(|legacy| &legacy.errors));
        left.cloned().unwrap_or_default()
    }
}

/// What is written at the end of an attempt. A key that was chosen by somebody is free again after a temporary error. An
/// id is nobody else's: its record tells whoever asks how it ended.
pub(super) fn conclude(
    failed_for_now: bool,
    runtime_retries: bool,
    chosen_key: bool,
) -> Conclusion {
    match (failed_for_now, runtime_retries, chosen_key) {
        (true, true, _) => Conclusion::Failing,
        (true, false, true) => Conclusion::Released,
        _ => Conclusion::Done,
    }
}
