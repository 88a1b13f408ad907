//! What can be wrong with a server or with what it holds.

use async_nats::jetstream;
use async_nats::jetstream::context::RequestError;

use super::{Difference, Refusal, ServerVersion, TOPOLOGY_VERSION};

/// Why the streams, buckets and consumers cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// The server lacks what the protocol needs.
    #[error(
        "the server is nats-server {found}, but {} or newer is needed",
        ServerVersion::MINIMUM
    )]
    OldServer {
        /// What the server says it is.
        found: String,
    },

    /// JetStream is off, on the server or for this account.
    #[error(
        "the server has no JetStream; start nats-server with `-js`, or enable it for this account"
    )]
    NoJetStream,

    /// Something is not there that this identity may not make.
    #[error("{object} is not there; an administrator makes it with `mcpctl auth apply`")]
    Missing {
        /// What it is, with its name.
        object: String,
    },

    /// Something exists with other settings.
    #[error("{object}: {}; {remedy}", list(differences))]
    Differs {
        /// What it is, with its name.
        object: String,
        /// Each setting that is not as needed.
        differences: Vec<Difference>,
        /// What an operator can do.
        remedy: String,
    },

    /// A newer program has made or upgraded it.
    #[error(
        "{object} has topology version {found}, but this program knows no version after {TOPOLOGY_VERSION}; \
         use the release that upgraded it, or a newer one"
    )]
    Newer {
        /// What it is, with its name.
        object: String,
        /// Its version.
        found: u32,
    },

    /// An upgrade would lose something; nothing was changed.
    #[error(
        "nothing was changed, because this cannot be changed in place: {}",
        join(refusals)
    )]
    NotUpgradable {
        /// Each difference, with what to do about it.
        refusals: Vec<Refusal>,
    },

    /// A subject that belongs to the namespace is taken by a stream of somebody else.
    #[error(
        "{object} cannot be created: stream `{other}` takes some of its subjects ({subjects}); use another namespace"
    )]
    SubjectsTaken {
        /// What was to be created.
        object: String,
        /// Its subjects.
        subjects: String,
        /// The stream that is in the way.
        other: String,
    },

    /// The server answered with a refusal: limits, permissions, replicas without a cluster.
    #[error("the server refused {object}")]
    Refused {
        /// What was asked for.
        object: String,
        /// What the server said.
        source: jetstream::Error,
    },

    /// The server did not answer, or not understandably.
    #[error("no answer from the server about {object}")]
    NoAnswer {
        /// What was asked for.
        object: String,
        /// What happened.
        source: RequestError,
    },

    /// Somebody creates and deletes it again and again.
    #[error("{object} appears and disappears; does another program delete it?")]
    Unstable {
        /// What it is, with its name.
        object: String,
    },
}

impl TopologyError {
    /// Whether trying again later, with nothing changed, can succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Unstable { .. } => true,
            Self::Refused { .. } => self.is_leaderless(),
            _ => false,
        }
    }

    /// Whether the cluster says that it has no leader: for a moment, or because too few of its servers run.
    pub fn is_leaderless(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.code() == 503)
    }
}

fn list(differences: &[Difference]) -> String {
    join(differences)
}

fn join(rows: &[impl ToString]) -> String {
    let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    rows.join("; ")
}
