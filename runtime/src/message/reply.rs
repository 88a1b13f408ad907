//! Answers: any number of progress frames, then one response.

use serde::{Deserialize, Serialize};

use super::{McpError, Name, PROTOCOL_VERSION, Raw, command::new_message_id};

/// A reply frame as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The protocol's version, 1.
    pub v: u8,
    /// A response, the last frame, or progress.
    pub kind: ReplyKind,
    /// The message id.
    pub id: String,
    /// The command that is answered, also in a replay.
    pub command_id: String,
    /// The agent that answers.
    pub source: Name,
    /// Its instance.
    #[serde(default)]
    pub instance: String,
    /// The attempt that is answered.
    #[serde(default)]
    pub attempt: u32,
    /// Progress only: 1, 2, 3 …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Progress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Response only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What came of it, when it went well.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub result: Option<Raw>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<McpError>,
    /// Time in the handler, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_ms: Option<f64>,
    /// True when this is a stored outcome, not a new execution.
    #[serde(default)]
    pub replayed: bool,
    /// How busy the replying instance is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// The `kind` of a reply frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyKind {
    /// The last frame.
    Response,
    /// One before it.
    Progress,
}

/// Whether a response carries a result or an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A result.
    Ok,
    /// An error.
    Error,
}

/// How far a command has come.
///
/// ```
/// use mcp_runtime::Progress;
/// let half = Progress::fraction(0.5).note("scene 2 of 4");
/// assert_eq!(half.fraction, Some(0.5));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The share that is done, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// A few words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Anything for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// How busy an instance is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Handlers running now.
    #[serde(default)]
    pub in_flight: u32,
    /// Handlers that may run at once.
    #[serde(default)]
    pub capacity: u32,
    /// 0 to 1.
    #[serde(default)]
    pub utilization: f64,
    /// 95 % of the recent commands waited at most this long between storage and handler.
    #[serde(default)]
    pub queue_wait_p95_ms: f64,
}

/// A `null` result is a result; only a missing one is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

impl Progress {
    /// Progress with the share that is done; clamped to 0 to 1.
    #[must_use]
    pub fn fraction(fraction: f64) -> Self {
        Self {
            fraction: Some(fraction.clamp(0.0, 1.0)),
            ..Self::default()
        }
    }

    /// Adds a few words for people.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds anything for programs.
    #[must_use]
    pub fn data(mut self, data: impl Into<serde_json::Value>) -> Self {
        self.data = Some(data.into());
        self
    }
}

/// Who answers which attempt of which command.
#[derive(Debug, Clone)]
pub(crate) struct Answerer {
    pub(crate) command_id: String,
    pub(crate) attempt: u32,
    pub(crate) source: Name,
    pub(crate) instance: String,
}

impl Answerer {
    fn frame(&self, kind: ReplyKind) -> Reply {
        Reply {
            v: PROTOCOL_VERSION,
            kind,
            id: new_message_id(),
            command_id: self.command_id.clone(),
            source: self.source.clone(),
            instance: self.instance.clone(),
            attempt: self.attempt,
            seq: None,
            progress: None,
            status: None,
            result: None,
            error: None,
            processing_ms: None,
            replayed: false,
            load: None,
        }
    }

    pub(crate) fn progress(&self, seq: u32, progress: Progress) -> Reply {
        Reply {
            seq: Some(seq),
            progress: Some(progress),
            ..self.frame(ReplyKind::Progress)
        }
    }

    pub(crate) fn response(&self, outcome: Result<Raw, McpError>) -> Reply {
        let mut frame = Reply {
            processing_ms: Some(0.0),
            ..self.frame(ReplyKind::Response)
        };
        match outcome {
            Ok(result) => (frame.status, frame.result) = (Some(Status::Ok), Some(result)),
            Err(error) => (frame.status, frame.error) = (Some(Status::Error), Some(error)),
        }
        frame
    }
}

impl Reply {
    /// The result or the error of a response; `None` for progress or a frame that contradicts itself.
    #[must_use]
    pub fn into_outcome(self) -> Option<Result<Raw, McpError>> {
        match (self.kind, self.status?) {
            (ReplyKind::Response, Status::Ok) => Some(Ok(self.result.unwrap_or_else(Raw::null))),
            (ReplyKind::Response, Status::Error) => self.error.map(Err),
            (ReplyKind::Progress, _) => None,
        }
    }
}
