//! Tasks: everything that happens to a workflow arrives as one.

use bytes::Bytes;
use mcp_runtime::{
    DecodeError, EncodeError, Format, McpError, Name, PROTOCOL_VERSION, Raw, Token, code,
    transport::new_message_id,
};
use serde::{Deserialize, Serialize};

use crate::record::Parent;

/// What a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
// Through a text: msgpack would otherwise also take a variant's number.
#[serde(rename_all = "snake_case", try_from = "String")]
pub(crate) enum Verb {
    Start,
    Transition,
    Signal,
    Stop,
    Checkpoint,
    DeleteCheckpoint,
    Restore,
    Resume,
    Migrate,
    Wake,
}

impl Verb {
    const ALL: [(&'static str, Self); 10] = [
        ("start", Self::Start),
        ("transition", Self::Transition),
        ("signal", Self::Signal),
        ("stop", Self::Stop),
        ("checkpoint", Self::Checkpoint),
        ("delete_checkpoint", Self::DeleteCheckpoint),
        ("restore", Self::Restore),
        ("resume", Self::Resume),
        ("migrate", Self::Migrate),
        ("wake", Self::Wake),
    ];
}

impl TryFrom<String> for Verb {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, verb)| *verb)
            .ok_or_else(|| "no such task".to_owned())
    }
}

/// A task as it travels and as it waits in a record's inbox. Which of the optional fields a verb needs is checked by
/// [`Task::decode`]; the rest are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub(crate) v: u8,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) task: Verb,
    pub(crate) workflow_id: Token,
    pub(crate) definition: Name,
    #[serde(default)]
    pub(crate) created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected_state: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<String>,
    /// Of a start: whom to tell of the end. Of a stop: who asks for it; it is ignored where there is nothing to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Parent>,
    /// Of a stop: the workflow's children go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) leave_children: bool,
    /// Of a stop: what is completed is undone first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) compensate: bool,
    /// Whether the answer is to be JSON: the encoding that the task came in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) json: bool,
}

/// Where a fork begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) workflow_id: Token,
    pub(crate) checkpoint: Name,
}

/// Always `task`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub(crate) enum Kind {
    Task,
}

impl TryFrom<String> for Kind {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.as_str() {
            "task" => Ok(Self::Task),
            _ => Err("the kind is not `task`"),
        }
    }
}

impl Task {
    /// A task of now, with no more than every task has.
    pub(crate) fn new(verb: Verb, definition: Name, workflow_id: Token, now_ms: u64) -> Self {
        Self {
            v: PROTOCOL_VERSION,
            kind: Kind::Task,
            id: new_message_id(),
            task: verb,
            workflow_id,
            definition,
            created_at: now_ms,
            reply_to: None,
            version: None,
            state: None,
            data: None,
            conversation_id: None,
            to: None,
            expected_state: None,
            name: None,
            reason: None,
            entry: None,
            attempt: None,
            from: None,
            traceparent: None,
            parent: None,
            leave_children: false,
            compensate: false,
            json: false,
        }
    }

    /// Decodes a task and checks what its verb needs, and that it agrees with its subject.
    pub(crate) fn decode(format: Format, body: &[u8], subject: &str) -> Result<Self, McpError> {
        let invalid = |error: &DecodeError| {
            McpError::permanent(code::INVALID_MESSAGE)
                .message(format!("no version 1 task: {error}"))
                .detail("field", error.field().unwrap_or_default())
        };
        let mut task: Self = format.decode(body).map_err(|error| invalid(&error))?;
        task.json = format == Format::Json;
        // It becomes a header: what cannot be one is no trace.
        let is_header =
            |text: &String| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        task.traceparent = task.traceparent.filter(is_header);
        task.check(subject)?;
        Ok(task)
    }

    /// What the verb cannot do without.
    fn check(&self, subject: &str) -> Result<(), McpError> {
        let missing = match self.task {
            Verb::Transition if self.to.is_none() => Some("to"),
            Verb::Signal | Verb::Checkpoint | Verb::DeleteCheckpoint | Verb::Restore
                if self.name.is_none() =>
            {
                Some("name")
            }
            Verb::Migrate if self.version.is_none() => Some("version"),
            Verb::Wake if self.entry.is_none() => Some("entry"),
            _ => None,
        };
        let refuse = |field: &str, reason: String| {
            Err(McpError::permanent(code::INVALID_MESSAGE)
                .message(reason)
                .detail("field", field))
        };
        if let Some(field) = missing {
            return refuse(field, format!("the task lacks `{field}`"));
        }
        let long =
            |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.len() > most);
        for (field, value, most) in [
            ("version", &self.version, 32),
            ("conversation_id", &self.conversation_id, 256),
            ("reply_to", &self.reply_to, 512),
            ("reason", &self.reason, 4096),
        ] {
            if long(value, most) {
                return refuse(field, format!("`{field}` has more than {most} bytes"));
            }
        }
        if self.v != PROTOCOL_VERSION {
            return refuse(
                "v",
                format!("version {} is not supported, only 1 is", self.v),
            );
        }
        if self.id.is_empty() || self.id.len() > 256 {
            return refuse("id", "the id must have 1 to 256 bytes".to_owned());
        }
        let kind = if self.task == Verb::Start {
            "start"
        } else {
            "control"
        };
        let tokens: Vec<&str> = subject.rsplitn(5, '.').collect();
        let agrees = matches!(
            tokens.as_slice(),
            [id, found, _, definition, _] if *id == self.workflow_id.as_str()
                && *found == kind && *definition == self.definition.as_str()
        );
        match agrees {
            true => Ok(()),
            false => refuse(
                "workflow_id",
                "the task disagrees with its subject".to_owned(),
            ),
        }
    }

    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        Format::Msgpack.encode(self)
    }

    /// A stop after which nothing runs any more.
    pub(crate) fn stops_at_once(&self) -> bool {
        self.task == Verb::Stop && !self.compensate
    }

    /// A `wake` for a workflow that is parked for want of a version, which somebody has brought.
    pub(crate) fn is_for_parked(&self) -> bool {
        self.task == Verb::Wake && self.version.is_some()
    }

    /// The `Nats-Msg-Id`: the workflow's own for a start, so that it starts once.
    pub(crate) fn message_id(&self) -> String {
        match self.task {
            Verb::Start => format!("{}.start", self.workflow_id),
            _ => self.id.clone(),
        }
    }
}
