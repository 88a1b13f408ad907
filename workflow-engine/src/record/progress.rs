//! How far the parallel commands of a state have come.

use serde::{Deserialize, Serialize};

/// One of the commands that a state sends side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LabelProgress {
    /// The author's label.
    pub label: String,
    /// How far it has come.
    pub progress: CommandProgress,
}

/// How far one of several commands has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandProgress {
    /// It is waited for.
    Running,
    /// Its result is there.
    Done,
    /// It has failed; another attempt of the state sends it again.
    Failed,
}

impl LabelProgress {
    pub(crate) fn running(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            progress: CommandProgress::Running,
        }
    }
}
