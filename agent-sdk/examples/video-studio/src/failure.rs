//! What can go wrong while making pictures and sound. Knows nothing of agents: `agents` turns these
//! into protocol errors.

use std::path::{Path, PathBuf};

/// Why a piece of media was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    /// Whoever asked no longer wants it.
    #[error("stopped before it was finished")]
    Stopped,
    /// An input has not been made yet, or is gone.
    #[error("no file at {}", path.display())]
    Missing { path: PathBuf },
    /// A file is there and is not what it should be.
    #[error("{} is not usable: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    /// The disk said no.
    #[error("cannot use {}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    /// An encoder said no.
    #[error("the {codec} encoder failed: {why}")]
    Encoder { codec: &'static str, why: String },
}

impl MediaError {
    /// For `map_err`: names the file, and tells a missing one from a broken disk.
    pub(crate) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { path: path.clone() },
            _ => Self::Io {
                path: path.clone(),
                source,
            },
        }
    }

    /// For `map_err`: an encoder's own words.
    pub(crate) fn encoder<E: std::fmt::Debug>(codec: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Encoder {
            codec,
            why: format!("{error:?}"),
        }
    }

    pub(crate) fn unusable(path: &Path, why: impl Into<String>) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// Called after each unit of work with (done, total); an error stops the work.
pub(crate) type Step<'a> = &'a mut dyn FnMut(u32, u32) -> Result<(), MediaError>;
