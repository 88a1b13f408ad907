//! A private broker for tests: a real nats-server on a free port, its data in a temporary directory.
//!
//! There is no fake transport in this project: what a test sees is what the server does.

use std::time::Duration;

use mcp_runtime::{Client, Config, ConnectError};
use tempfile::TempDir;

use crate::server::{LocalServer, LocalServerBuilder, ServerError};

/// How often, with 1 ms between, a dropped broker looks whether its killed server is gone.
const DROP_LOOKS: u32 = 500;

/// A nats-server for one test. Dropping it kills the server and removes its data.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_agent_sdk::TestBroker;
///
/// let broker = TestBroker::start().await?;
/// let client = broker.client().await?;
/// client.publish("test_started", "hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestBroker {
    server: LocalServer,
    // After the server: its files must not vanish below it.
    dir: TempDir,
}

impl TestBroker {
    /// Starts a server with default settings.
    ///
    /// # Errors
    /// As [`LocalServerBuilder::start`].
    pub async fn start() -> Result<Self, ServerError> {
        Self::start_with(LocalServer::builder()).await
    }

    /// Starts a server with settings of your own; its store directory is always the broker's.
    ///
    /// # Errors
    /// As [`LocalServerBuilder::start`].
    pub async fn start_with(settings: LocalServerBuilder) -> Result<Self, ServerError> {
        let dir = tempfile::Builder::new()
            .prefix("mcp-broker-")
            .tempdir()
            .map_err(|source| ServerError::Store {
                store: std::env::temp_dir(),
                source,
            })?;
        let server = settings.store_dir(dir.path()).start().await?;
        Ok(Self { server, dir })
    }

    /// The URL for clients; the same after a restart.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// A client of this server, named `test`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        Client::connect(Config::new(self.url()).name("test")).await
    }

    /// The directory with the server's data and log.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The server itself.
    pub fn server(&mut self) -> &mut LocalServer {
        &mut self.server
    }

    /// Kills the server at once (`kill -9`), as a crash would.
    ///
    /// # Errors
    /// As [`LocalServer::kill`].
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        self.server.kill().await
    }

    /// Stops the server cleanly.
    ///
    /// # Errors
    /// As [`LocalServer::stop`].
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        self.server.stop().await
    }

    /// Starts the server again with the same data on the same port.
    ///
    /// # Errors
    /// As [`LocalServer::restart`].
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.server.restart().await
    }
}

impl Drop for TestBroker {
    /// Waits the few milliseconds until the killed server is gone: while it still writes, its directory cannot be
    /// removed and would stay behind.
    #[expect(
        clippy::disallowed_methods,
        reason = "drop cannot await; a test's thread may wait some milliseconds"
    )]
    fn drop(&mut self) {
        for _ in 0..DROP_LOOKS {
            if self.server.kill_now() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
