//! Subjects, streams and buckets by name, all under one namespace.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::name::{InvalidName, Name};

/// How urgent a message is; each priority is a lane of its own, with its own queue.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
// Through a text: msgpack would otherwise also take a variant's number.
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before normal work.
    High,
    /// The default.
    #[default]
    Normal,
    /// When there is nothing better to do; never starved.
    Low,
}

/// A text that is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a priority: use critical, high, normal or low")]
pub struct InvalidPriority(String);

impl Priority {
    /// All priorities, the highest first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The lane's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The position in [`Priority::ALL`], for tables by lane.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for Priority {
    type Error = InvalidPriority;

    fn try_from(text: String) -> Result<Self, InvalidPriority> {
        text.parse()
    }
}

impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(text: &str) -> Result<Self, InvalidPriority> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| InvalidPriority(text.chars().take(80).collect()))
    }
}

/// The first token of every subject and the prefix of every stream and bucket (default `mcp`),
/// so that several systems share one NATS account without meeting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namespace(Name);

impl Default for Namespace {
    fn default() -> Self {
        Self(Name::new("mcp").expect("the default namespace is a valid name"))
    }
}

impl FromStr for Namespace {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Name::new(text).map(Self)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Namespace {
    /// The namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The stream of durable commands.
    #[must_use]
    pub fn commands_stream(&self) -> String {
        format!("{self}_commands")
    }

    /// The stream of events.
    #[must_use]
    pub fn events_stream(&self) -> String {
        format!("{self}_events")
    }

    /// The stream of dead letters.
    #[must_use]
    pub fn dead_letters_stream(&self) -> String {
        format!("{self}_dead_letters")
    }

    /// The bucket of presence records.
    #[must_use]
    pub fn agents_bucket(&self) -> String {
        format!("{self}_agents")
    }

    /// The bucket of outcome records.
    #[must_use]
    pub fn outcomes_bucket(&self) -> String {
        format!("{self}_outcomes")
    }

    /// The object store of bodies too large for one message.
    #[must_use]
    pub fn payloads_bucket(&self) -> String {
        format!("{self}_payloads")
    }

    /// The stream of workflow tasks of one shard.
    #[must_use]
    pub fn tasks_stream(&self, shard: u16) -> String {
        format!("{self}_tasks_{shard}")
    }

    /// The bucket of workflow records of one shard.
    #[must_use]
    pub fn workflows_bucket(&self, shard: u16) -> String {
        format!("{self}_workflows_{shard}")
    }

    /// The bucket of workflow checkpoints of one shard.
    #[must_use]
    pub fn checkpoints_bucket(&self, shard: u16) -> String {
        format!("{self}_checkpoints_{shard}")
    }

    /// The bucket of workflow definitions.
    #[must_use]
    pub fn definitions_bucket(&self) -> String {
        format!("{self}_definitions")
    }

    /// The subject of a durable command.
    #[must_use]
    pub fn command(&self, agent: &Name, lane: Priority, action: &Name) -> String {
        format!("{self}.cmd.{agent}.{lane}.{action}")
    }

    /// The subject of a pack of commands.
    #[must_use]
    pub fn pack(&self, agent: &Name, lane: Priority) -> String {
        format!("{self}.cmd.{agent}.{lane}.{}", super::pack::PACK_TOKEN)
    }

    /// The subject of the schedule of a command that is to be delivered later.
    #[must_use]
    pub fn delayed_command(&self, agent: &Name, message_id: &str) -> String {
        format!("{self}.delay.{agent}.{message_id}")
    }

    /// The subject of a realtime command.
    #[must_use]
    pub fn realtime(&self, agent: &Name, action: &Name) -> String {
        format!("{self}.rt.{agent}.{action}")
    }

    /// Every realtime command of an agent.
    #[must_use]
    pub fn realtime_filter(&self, agent: &Name) -> String {
        format!("{self}.rt.{agent}.*")
    }

    /// The subject that carries the reply frames of one command.
    #[must_use]
    pub fn reply(&self, requester: &str, command_id: &str) -> String {
        format!("{self}.reply.{requester}.{command_id}")
    }

    /// The subject of an event.
    #[must_use]
    pub fn event(&self, agent: &Name, event: &Name) -> String {
        format!("{self}.evt.{agent}.{event}")
    }

    /// The subject of a dead letter.
    #[must_use]
    pub fn dead_letter(&self, agent: &Name, action: &str) -> String {
        format!("{self}.dead.{agent}.{action}")
    }

    /// The subject of a control verb of an agent: `cancel` or `drain`.
    #[must_use]
    pub fn control(&self, agent: &Name, verb: &str) -> String {
        format!("{self}.ctl.{agent}.{verb}")
    }

    /// The durable consumer of one lane of an agent.
    #[must_use]
    pub fn lane_consumer(agent: &Name, lane: Priority) -> String {
        format!("{agent}_{lane}")
    }

    /// The durable consumer of one event subscription of an agent.
    #[must_use]
    pub fn event_consumer(agent: &Name, subscription: &Name) -> String {
        format!("{agent}_evt_{subscription}")
    }

    /// Whether replies may be published to `subject`: anything else would let a command's author
    /// make agents write wherever they may.
    #[must_use]
    pub fn allows_reply_to(&self, subject: &str) -> bool {
        let under = |prefix: &str| {
            subject
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty())
        };
        let reply_prefix = format!("{self}.reply.");
        (under(&reply_prefix) || under("_INBOX.") || under("_INBOX_")) && is_concrete(subject)
    }
}

/// A subject without wildcards, empty tokens or white space.
fn is_concrete(subject: &str) -> bool {
    subject.len() <= 512
        && subject.split('.').all(|token| {
            !token.is_empty()
                && token != "*"
                && token != ">"
                && token.bytes().all(|b| b.is_ascii_graphic())
        })
}

/// What the subject of a durable or realtime command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandSubject<'a> {
    pub(crate) agent: &'a str,
    /// `None` for realtime commands, whose subject has no lane.
    pub(crate) lane: Option<Priority>,
    pub(crate) action: &'a str,
}

impl<'a> CommandSubject<'a> {
    /// Reads `<ns>.cmd.<agent>.<lane>.<action>` or `<ns>.rt.<agent>.<action>`; `None` for any other form.
    pub(crate) fn parse(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.split('.').skip(1);
        let parsed = match tokens.next()? {
            "cmd" => Self {
                agent: tokens.next()?,
                lane: Some(tokens.next()?.parse().ok()?),
                action: tokens.next()?,
            },
            "rt" => Self {
                agent: tokens.next()?,
                lane: None,
                action: tokens.next()?,
            },
            _ => return None,
        };
        tokens.next().is_none().then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_those_of_the_protocol() {
        let ns = Namespace::default();
        let (agent, action) = (Name::new("probe").unwrap(), Name::new("echo").unwrap());
        assert_eq!(
            ns.command(&agent, Priority::High, &action),
            "mcp.cmd.probe.high.echo"
        );
        assert_eq!(ns.realtime(&agent, &action), "mcp.rt.probe.echo");
        assert_eq!(ns.reply("me", "id"), "mcp.reply.me.id");
        assert_eq!(Namespace::lane_consumer(&agent, Priority::Low), "probe_low");
    }

    #[test]
    fn command_subjects_are_read_back() {
        let durable = CommandSubject::parse("mcp.cmd.probe.low.echo").unwrap();
        assert_eq!(
            (durable.agent, durable.lane, durable.action),
            ("probe", Some(Priority::Low), "echo")
        );
        let realtime = CommandSubject::parse("mcp.rt.probe.echo").unwrap();
        assert_eq!(
            (realtime.agent, realtime.lane, realtime.action),
            ("probe", None, "echo")
        );
        for bad in [
            "mcp.cmd.probe.urgent.echo",
            "mcp.cmd.probe.low",
            "mcp.cmd.probe.low.echo.x",
            "mcp.evt.a.b",
            "",
        ] {
            assert!(CommandSubject::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn replies_go_to_reply_and_inbox_subjects_only() {
        let ns = Namespace::default();
        for good in ["mcp.reply.me.1", "_INBOX.abc", "_INBOX_mine.abc.1"] {
            assert!(ns.allows_reply_to(good), "{good}");
        }
        for bad in [
            "mcp.cmd.probe.low.echo",
            "_INBOX.",
            "mcp.reply.*.x",
            "mcp.reply.a..b",
            "$JS.API.x",
            "_INBOX.a b",
        ] {
            assert!(!ns.allows_reply_to(bad), "{bad}");
        }
    }
}
