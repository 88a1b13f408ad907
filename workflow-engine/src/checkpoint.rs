//! A named copy of a workflow's state and data.

use bytes::Bytes;
use mcp_runtime::{DecodeError, EncodeError, Format, Name, Raw, Token};
use serde::{Deserialize, Serialize};

use crate::{core::Former, record::WorkflowRecord, shape::WorkflowShape};

/// What a workflow was like when the checkpoint was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkflowCheckpoint {
    /// The workflow.
    pub workflow_id: Token,
    /// The checkpoint's name; the last eight of each name are kept.
    pub name: Name,
    /// Which write of the record it copies.
    pub epoch: u64,
    /// The state.
    pub state: Name,
    /// The data.
    #[serde(default)]
    pub data: Raw,
    /// Unix milliseconds, by the server's clock.
    pub created_at: u64,
    /// The definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Name>,
    /// The definition's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl WorkflowCheckpoint {
    pub(crate) fn of(record: &WorkflowRecord, name: &Name, epoch: u64) -> Self {
        Self {
            workflow_id: record.id.clone(),
            name: name.clone(),
            epoch,
            state: record.state.clone(),
            data: record.data.clone(),
            created_at: record.updated_at,
            definition: Some(record.definition.clone()),
            version: Some(record.version.clone()),
        }
    }

    /// What a migration to this shape is given, if the checkpoint is of a version that it migrates from.
    pub(crate) fn former_to(&self, shape: &WorkflowShape) -> Option<Former> {
        let version = (self.version.as_ref()).filter(|&of| shape.migrates_from.contains(of))?;
        Some(Former {
            id: self.workflow_id.clone(),
            version: version.clone(),
            state: self.state.clone(),
            data: self.data.clone(),
        })
    }

    /// Reads a checkpoint as it lies in the bucket.
    ///
    /// # Errors
    /// When it is no checkpoint.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Format::Msgpack.decode(body)
    }

    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        Format::Msgpack.encode(self)
    }
}
