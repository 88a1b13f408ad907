//! Packs as they come in: what there is room for waits with the other commands, the rest is passed on.

use std::{sync::Arc, time::Duration};

use async_nats::Message;

use crate::{
    batch::SLOW_HANDLER,
    message::{Answerer, McpError, Priority, code},
    receive::{delivery::DeliveryInfo, inbound::Inbound, lease::Lease, pack::Member},
};

use super::{Intake, Ready};

/// Members that are begun within this wait here; for longer they had better be with another instance.
const SOON: Duration = Duration::from_millis(20);

/// And so many at most, however quick their handlers are.
const MOST_READY: usize = 1_024;

/// How many commands a message of a lane mostly brings, so that the intake asks for what it has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackSize(f64);

impl Default for PackSize {
    fn default() -> Self {
        Self(1.0)
    }
}

impl PackSize {
    /// Takes in how many a message has brought.
    pub(super) fn note(&mut self, members: usize) {
        self.0 += (members as f64 - self.0) / 4.0;
    }

    pub(super) fn commands_in(self, messages: u64) -> u64 {
        (messages as f64 * self.0) as u64
    }

    /// At least one, where there is to be any.
    pub(super) fn messages_for(self, commands: u64) -> u64 {
        let messages = (commands as f64 / self.0).round() as u64;
        messages.max(u64::from(commands > 0))
    }
}

impl Intake {
    pub(super) fn keep_pack(
        &mut self,
        lane: Priority,
        message: Message,
        info: DeliveryInfo,
        lease: Lease,
    ) {
        let members = match self.shared.unpack(lane, &message, &info, lease) {
            Ok(members) => members,
            Err(refused) => {
                let (lease, error) = *refused;
                let error = McpError::permanent(code::INVALID_MESSAGE).message(error.to_string());
                return self.bury(
                    Inbound::new(&self.shared, message, info, Some(lease)),
                    error,
                );
            }
        };
        self.pack_sizes[lane.index()].note(members.len());
        let room = match info.deliveries {
            1 => self.room_for_members(),
            // It has been the end of one worker: each on its own, so that it is seen which.
            _ => 0,
        };
        let mut passed_on = Vec::new();
        for (number, member) in members.into_iter().enumerate() {
            let fits =
                number < room && self.slots.free_bytes() > member.message.payload.len() as u64;
            let Member {
                message,
                info,
                lease,
                command,
            } = member;
            match command {
                Some(command) if !fits => {
                    passed_on.push((
                        Member {
                            message,
                            info,
                            lease,
                            command: None,
                        },
                        command,
                    ));
                }
                // What cannot be read takes no time, and is not for others either.
                command => {
                    let held = self.slots.hold(message.payload.len() as u64);
                    self.ready[lane.index()].push_back(Ready {
                        message,
                        info,
                        lease,
                        held,
                        command,
                    });
                }
            }
        }
        if !passed_on.is_empty() {
            let shared = Arc::clone(&self.shared);
            self.tasks
                .spawn(async move { shared.pass_on(passed_on).await });
        }
    }

    /// How many more members find a place now or soon.
    fn room_for_members(&self) -> usize {
        let (capacity, in_use) = (self.slots.capacity(), self.slots.in_use());
        let free = usize::try_from(capacity - in_use).unwrap_or(usize::MAX);
        let typical = self
            .shared
            .load
            .typical()
            .filter(|typical| *typical < SLOW_HANDLER);
        let soon = typical.map_or(0.0, |typical| {
            capacity as f64 * SOON.as_secs_f64() / typical.as_secs_f64()
        });
        let here: usize = self.ready.iter().map(|ready| ready.len()).sum();
        (free + (soon as usize).min(MOST_READY)).saturating_sub(here)
    }

    /// A message that is no pack: a dead letter.
    fn bury(&self, inbound: Inbound, error: McpError) {
        let shared = Arc::clone(&self.shared);
        let answerer: Answerer = inbound.answerer(&shared, "", 1);
        let scope = inbound.processing.scope();
        self.tasks.spawn(async move {
            let burying = shared.reject(inbound, &answerer, None, error);
            scope.run(Box::pin(burying)).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_follows_the_packs() {
        let mut size = PackSize::default();
        assert_eq!((size.commands_in(3), size.messages_for(10)), (3, 10));
        (0..20).for_each(|_| size.note(64));
        assert_eq!((size.messages_for(64), size.messages_for(200)), (1, 3));
        assert_eq!((size.messages_for(1), size.messages_for(0)), (1, 0));
        (0..40).for_each(|_| size.note(1));
        assert_eq!((size.commands_in(3), size.messages_for(10)), (3, 10));
    }
}
