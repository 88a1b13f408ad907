//! What is durable, decided by message kind and priority in one table.
//!
//! The table decides; it stores nothing itself. The send path asks it for each message.

use crate::message::Priority;

/// What a message is, as far as its storage is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// A command for the queue of its agent.
    Command,
    /// A command over core NATS.
    RealtimeCommand,
    /// A statement that something happened.
    Event,
    /// A frame on the way to a response.
    Progress,
    /// The response to a command.
    Reply,
    /// The outcome of an idempotent or submitted command.
    Outcome,
    /// A message that could not be handled.
    DeadLetter,
}

/// Whether a message survives a crash of everybody who has it in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The server stores it before the sender goes on.
    Stored,
    /// It reaches whoever listens now, and is gone.
    Transient,
}

/// A change of the table that the protocol does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} messages are always {durability:?}: the protocol has no other place for them")]
pub struct FixedDurability {
    kind: MessageKind,
    durability: Durability,
}

/// The durability of each kind of message in each lane, and which lanes may wait in the local [`Outbox`](super::Outbox).
///
/// | kind | critical | high | normal | low | may be changed |
/// |---|---|---|---|---|---|
/// | command | stored | stored | stored | stored | yes: a transient one is sent as a realtime command |
/// | realtime command | transient | transient | transient | transient | yes: a stored one is sent as a command |
/// | event | stored | stored | stored | stored | no |
/// | progress, reply | transient | transient | transient | transient | no |
/// | outcome, dead letter | stored | stored | stored | stored | no |
/// | outbox, off by default | when on | when on | no | no | yes |
///
/// ```
/// use mcp_runtime::{Priority, persistence::{Durability, DurabilityTable, MessageKind}};
/// let table = DurabilityTable::default()
///     .with(MessageKind::Command, Priority::Low, Durability::Transient)?
///     .with_outbox();
/// assert_eq!(table.durability(MessageKind::Command, Priority::High), Durability::Stored);
/// assert!(table.spools(MessageKind::Command, Priority::High));
/// assert!(!table.spools(MessageKind::Command, Priority::Normal));
/// # Ok::<(), mcp_runtime::persistence::FixedDurability>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityTable {
    commands: [Durability; 4],
    realtime: [Durability; 4],
    outbox: [bool; 4],
}

impl Default for DurabilityTable {
    fn default() -> Self {
        Self {
            commands: [Durability::Stored; 4],
            realtime: [Durability::Transient; 4],
            outbox: [false; 4],
        }
    }
}

impl DurabilityTable {
    /// How durable a message is.
    #[must_use]
    pub fn durability(&self, kind: MessageKind, priority: Priority) -> Durability {
        match kind {
            MessageKind::Command => self.commands[priority.index()],
            MessageKind::RealtimeCommand => self.realtime[priority.index()],
            MessageKind::Event | MessageKind::Outcome | MessageKind::DeadLetter => {
                Durability::Stored
            }
            // What outlives a reply is the outcome record.
            MessageKind::Progress | MessageKind::Reply => Durability::Transient,
        }
    }

    /// Whether a message may wait in the local outbox while the server cannot be reached.
    ///
    /// Only stored commands do: the others are worth nothing later, or know nobody who empties the outbox.
    #[must_use]
    pub fn spools(&self, kind: MessageKind, priority: Priority) -> bool {
        kind == MessageKind::Command
            && self.outbox[priority.index()]
            && self.durability(kind, priority) == Durability::Stored
    }

    /// Whether any lane may use the outbox.
    #[must_use]
    pub fn uses_outbox(&self) -> bool {
        Priority::ALL
            .into_iter()
            .any(|priority| self.spools(MessageKind::Command, priority))
    }

    /// Changes one cell.
    ///
    /// # Errors
    /// When the protocol fixes the durability of this kind and `durability` is another.
    pub fn with(
        mut self,
        kind: MessageKind,
        priority: Priority,
        durability: Durability,
    ) -> Result<Self, FixedDurability> {
        match kind {
            MessageKind::Command => self.commands[priority.index()] = durability,
            MessageKind::RealtimeCommand => self.realtime[priority.index()] = durability,
            fixed => {
                let durability_now = self.durability(fixed, priority);
                if durability_now != durability {
                    return Err(FixedDurability {
                        kind,
                        durability: durability_now,
                    });
                }
            }
        }
        Ok(self)
    }

    /// Lets the lanes critical and high use the outbox.
    #[must_use]
    pub fn with_outbox(self) -> Self {
        self.with_outbox_for(&[Priority::Critical, Priority::High])
    }

    /// Lets exactly these lanes use the outbox.
    #[must_use]
    pub fn with_outbox_for(mut self, lanes: &[Priority]) -> Self {
        self.outbox = Priority::ALL.map(|lane| lanes.contains(&lane));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let table = DurabilityTable::default();
        let rows = [
            (MessageKind::Command, Durability::Stored),
            (MessageKind::RealtimeCommand, Durability::Transient),
            (MessageKind::Event, Durability::Stored),
            (MessageKind::Progress, Durability::Transient),
            (MessageKind::Reply, Durability::Transient),
            (MessageKind::Outcome, Durability::Stored),
            (MessageKind::DeadLetter, Durability::Stored),
        ];
        for (kind, durability) in rows {
            for lane in Priority::ALL {
                assert_eq!(table.durability(kind, lane), durability, "{kind:?} {lane}");
                assert!(!table.spools(kind, lane), "{kind:?} {lane}");
            }
        }
        assert!(!table.uses_outbox());
    }

    #[test]
    fn outbox_takes_critical_and_high_commands_only() {
        let table = DurabilityTable::default().with_outbox();
        let spooled = Priority::ALL.map(|lane| table.spools(MessageKind::Command, lane));
        assert_eq!(spooled, [true, true, false, false]);
        assert!(!table.spools(MessageKind::RealtimeCommand, Priority::Critical));
        assert!(!table.spools(MessageKind::Event, Priority::Critical));
        let transient = table
            .with(
                MessageKind::Command,
                Priority::Critical,
                Durability::Transient,
            )
            .unwrap();
        assert!(!transient.spools(MessageKind::Command, Priority::Critical));
    }

    #[test]
    fn what_the_protocol_fixes_cannot_be_changed() {
        let table = DurabilityTable::default();
        for kind in [MessageKind::Progress, MessageKind::Reply] {
            assert!(
                table
                    .clone()
                    .with(kind, Priority::Low, Durability::Stored)
                    .is_err()
            );
            assert!(
                table
                    .clone()
                    .with(kind, Priority::Low, Durability::Transient)
                    .is_ok()
            );
        }
        let error = table
            .with(MessageKind::Event, Priority::Low, Durability::Transient)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Event messages are always Stored"),
            "{error}"
        );
    }
}
