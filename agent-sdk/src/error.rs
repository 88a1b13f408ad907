//! Why an agent does not run.

use mcp_runtime::{ConfigError, ConnectError, ReceiveError};
use mcp_workflow_engine::EngineError;

/// Why an agent does not run.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The agent was put together wrongly.
    #[error("the agent `{name}` cannot run: {mistakes}")]
    Agent {
        /// Its name.
        name: String,
        /// All that is wrong.
        mistakes: String,
    },
    /// The environment says something that cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Config(#[from] ConfigError),
    /// The server cannot be used.
    #[error("{}", chain(.0))]
    Connect(#[from] ConnectError),
    /// The agent cannot receive.
    #[error("the agent cannot receive: {0}")]
    Receive(#[from] ReceiveError),
    /// The agent cannot run its workflows.
    #[error("the agent cannot run its workflows: {}", chain(.0))]
    Engine(#[from] EngineError),
    /// `MCP_HTTP_ADDR` cannot be listened on.
    #[error("cannot listen on {address}, which MCP_HTTP_ADDR names: {source}")]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The process cannot listen for signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

// What `main` returns is printed by `Debug`: a sentence serves people better than a struct.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// An error with its causes: `main` prints what it returns, and that alone.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
