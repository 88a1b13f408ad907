//! From a NATS message to a command that may run, or the reason why it may not.

use std::time::{Duration, Instant};

use async_nats::Message;
use bytes::Bytes;
use serde::Deserialize;

use crate::{
    message::{Answerer, Command, CommandSubject, Format, McpError, Priority, Raw, code, pack},
    payload::{self, PayloadError},
    provenance,
    telemetry::{Arrival, Processing},
    trace::TraceContext,
};

use super::{
    Shared,
    delivery::{DeliveryInfo, age_before},
    lease::Lease,
};

/// A command may be delivered this often beyond its recorded failures; more has killed its workers.
pub(super) const MAX_DEATHS: u64 = 5;

/// A message as it came, with what is needed to settle it.
pub(super) struct Inbound {
    pub(super) message: Message,
    /// The body: the message's own, or what it claims.
    pub(super) body: Bytes,
    pub(super) info: DeliveryInfo,
    pub(super) format: Format,
    /// `None` for realtime commands, which nobody will deliver again.
    pub(super) lease: Option<Lease>,
    received: Instant,
    pub(super) processing: Processing,
    /// What was read already, when its pack was taken apart.
    command: Option<Box<Command>>,
}

/// A message that is no command.
pub(super) struct Undecodable {
    pub(super) error: McpError,
    pub(super) reply_to: Option<String>,
    pub(super) command_id: String,
}

impl Inbound {
    pub(super) fn new(
        shared: &Shared,
        message: Message,
        info: DeliveryInfo,
        lease: Option<Lease>,
    ) -> Self {
        let arrival = Arrival {
            client: &shared.client,
            message: &message,
            deliveries: info.deliveries,
            members: info.members,
        };
        let processing = Processing::command(&arrival, |action| shared.handler.knows(action));
        // An unknown content type is reported when the body is read; what can be answered is in msgpack.
        let format = Format::of_message(&message).unwrap_or_default();
        Self {
            body: message.payload.clone(),
            message,
            info,
            format,
            lease,
            received: Instant::now(),
            processing,
            command: None,
        }
    }

    /// Spares the second reading.
    pub(super) fn with_command(mut self, command: Option<Box<Command>>) -> Self {
        self.command = command;
        self
    }

    /// Fetches a body that was too large for its message.
    pub(super) async fn fetch(&mut self, shared: &Shared) -> Result<(), PayloadError> {
        let claimed = payload::check_out(
            &shared.client,
            self.message.headers.as_ref(),
            &self.message.payload,
        )
        .await?;
        self.body = claimed.unwrap_or_else(|| self.message.payload.clone());
        Ok(())
    }

    /// The lane that the body says; normal where it says none or is not here.
    pub(super) fn lane(&self) -> Priority {
        let said: Option<Lane> = self.format.decode_prefix(&self.body);
        said.map(|said| said.priority).unwrap_or_default()
    }

    /// Reads the command.
    pub(super) fn decode(&mut self, shared: &Shared) -> Result<Command, Box<Undecodable>> {
        let own_schedules = format!("{}.delay.{}.", shared.client.namespace(), shared.agent);
        if let Some(reason) = provenance::borrowed(&self.message, &own_schedules) {
            let error = McpError::permanent(code::INVALID_MESSAGE)
                .message(format!("nobody shows the right to send this: {reason}"));
            return Err(self.undecodable(shared, error));
        }
        let command = match self.command.take() {
            Some(command) => Ok(*command),
            None => Format::of_message(&self.message)
                .and_then(|format| Command::decode(format, &self.body)),
        };
        let mut command = command.map_err(|error| {
            let field = error.field().map(str::to_owned);
            let error = McpError::permanent(code::INVALID_MESSAGE)
                .message(format!("the body is no version 1 command: {error}"));
            let error = match field {
                Some(field) => error.detail("field", field),
                None => error,
            };
            self.undecodable(shared, error)
        })?;
        // Realtime clients may use the reply subject of the NATS message itself.
        if command.reply_to.is_none() && self.lease.is_none() {
            command.reply_to = self.message.reply.as_ref().map(ToString::to_string);
        }
        // Never published to: a stranger would write through the agent's rights.
        if command
            .reply_to
            .as_ref()
            .is_some_and(|subject| !shared.client.namespace().allows_reply_to(subject))
        {
            let error = McpError::permanent(code::INVALID_MESSAGE)
                .message("`reply_to` must lie under the namespace's `reply.` or under `_INBOX`")
                .detail("field", "reply_to");
            return Err(Box::new(Undecodable {
                error,
                reply_to: None,
                command_id: command.id,
            }));
        }
        self.processing.reads(&command);
        Ok(command)
    }

    /// Whether the command may run now, and for how long it is worth doing.
    pub(super) fn admit(
        &self,
        shared: &Shared,
        command: &Command,
    ) -> Result<Option<Duration>, McpError> {
        self.agrees_with_subject(shared, command)?;
        // With retries, deliveries are counted against the recorded failures, once those are known.
        if self.info.deliveries > MAX_DEATHS && command.retry.is_none() {
            return Err(self.poison());
        }
        let remaining = self.remaining(shared, command)?;
        if !shared.handler.knows(command.action.as_str()) {
            let actions = shared.handler.actions();
            return Err(McpError::permanent(code::UNKNOWN_ACTION)
                .message(format!(
                    "`{}` has no action `{}`; it has: {}",
                    shared.agent,
                    command.action,
                    actions.join(", ")
                ))
                .detail("actions", actions));
        }
        Ok(remaining)
    }

    pub(super) fn poison(&self) -> McpError {
        let message = format!(
            "delivered {} times without an end: it kills its workers",
            self.info.deliveries
        );
        McpError::permanent(code::POISON).message(message)
    }

    fn agrees_with_subject(&self, shared: &Shared, command: &Command) -> Result<(), McpError> {
        let subject = CommandSubject::parse(&self.message.subject);
        let agrees = subject.is_some_and(|subject| {
            subject.agent == command.target.as_str()
                && subject.agent == shared.agent.as_str()
                && self.says_action(subject.action, command)
                && subject.lane.is_none_or(|lane| lane == command.priority)
        });
        match agrees {
            true => Ok(()),
            false => Err(McpError::permanent(code::INVALID_MESSAGE).message(format!(
                "target `{}`, action `{}` and priority `{}` disagree with the subject {}",
                command.target, command.action, command.priority, self.message.subject
            ))),
        }
    }

    /// The subject of a pack names no action; what a member claims is here only after it was taken out.
    fn says_action(&self, said: &str, command: &Command) -> bool {
        said == command.action.as_str() || (self.info.place.is_some() && said == pack::PACK_TOKEN)
    }

    /// What is left of the time to live; the age is counted by the server's clock alone.
    fn remaining(&self, shared: &Shared, command: &Command) -> Result<Option<Duration>, McpError> {
        let Some(ttl) = command.ttl() else {
            return Ok(None);
        };
        let age = self.age(shared);
        match ttl.checked_sub(age) {
            Some(remaining) if !remaining.is_zero() => Ok(Some(remaining)),
            _ => Err(
                McpError::permanent(code::DEADLINE_EXCEEDED).message(format!(
                    "taken up {} ms after it was stored, worth doing for {} ms",
                    age.as_millis(),
                    ttl.as_millis()
                )),
            ),
        }
    }

    /// Whether the sender wants another instance than this, which only a stored command can find.
    pub(super) fn is_not_for(&self, instance: &str) -> bool {
        let shunned = self
            .message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Mcp-Not-Instance"));
        self.lease.is_some() && shunned.is_some_and(|shunned| shunned.as_str() == instance)
    }

    /// How long ago the command was first stored, or has come in where it is stored nowhere.
    pub(super) fn age(&self, shared: &Shared) -> Duration {
        let here = match self.lease {
            Some(_) => shared.client.clock().age(self.info.stored_at_ms),
            None => self.received.elapsed(),
        };
        here + age_before(self.message.headers.as_ref())
    }

    pub(super) fn trace(&self) -> TraceContext {
        self.processing.trace().clone()
    }

    pub(super) fn answerer(&self, shared: &Shared, command_id: &str, attempt: u32) -> Answerer {
        Answerer {
            command_id: command_id.to_owned(),
            attempt,
            source: shared.agent.clone(),
            instance: shared.instance.to_string(),
        }
    }

    pub(super) fn undecodable(&self, shared: &Shared, error: McpError) -> Box<Undecodable> {
        let salvaged: Salvaged = self.format.decode_prefix(&self.body).unwrap_or_default();
        let text = |raw: Option<Raw>| raw.and_then(|raw| raw.decode::<String>().ok());
        let reply_to = text(salvaged.reply_to)
            .or_else(|| {
                self.lease
                    .is_none()
                    .then(|| self.message.reply.as_ref().map(ToString::to_string))
                    .flatten()
            })
            .filter(|subject| shared.client.namespace().allows_reply_to(subject));
        Box::new(Undecodable {
            error,
            reply_to,
            command_id: text(salvaged.id).unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct Lane {
    #[serde(default)]
    priority: Priority,
}

/// What can still be read of a broken command.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Salvaged {
    id: Option<Raw>,
    reply_to: Option<Raw>,
}
