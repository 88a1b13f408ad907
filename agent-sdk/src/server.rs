//! A nats-server of one's own: found, started with JetStream on loopback, stopped cleanly.
//!
//! `mcpctl dev`, the demo and every test run their server through [`LocalServer`]. It is a managed child: it never
//! outlives the value, and nothing but this machine can reach it. An external server or cluster needs none of this,
//! only its URL. Its settings are in `builder`, finding the program in `find`, the process in `launch`.

mod builder;
mod error;
mod find;
mod launch;
mod log;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

pub use builder::LocalServerBuilder;
pub use error::ServerError;
use find::Places;
pub use find::ServerProgram;

/// A clean stop flushes what is in memory; on a loaded machine that takes a second, not ten.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a restart waits for its own port to become free again.
const PORT_LIMIT: Duration = Duration::from_secs(5);

/// A nats-server with JetStream, run as a child of this process on `127.0.0.1`.
///
/// Dropping it kills the server; what was acknowledged stays in the store directory. If this process is itself killed
/// (`kill -9`) nobody is left to stop the server.
#[derive(Debug)]
pub struct LocalServer {
    program: ServerProgram,
    settings: LocalServerBuilder,
    child: Child,
    port: u16,
    url: String,
    lock: File,
}

impl LocalServer {
    /// Starts to describe a server; [`LocalServerBuilder::start`] runs it.
    pub fn builder() -> LocalServerBuilder {
        LocalServerBuilder::default()
    }

    /// Finds the nats-server that would be started: `MCP_NATS_SERVER`, else `PATH`, else `.tools/bin` of the project.
    ///
    /// # Errors
    /// When there is none, or none that is new enough; the error says what to do.
    pub async fn find() -> Result<ServerProgram, ServerError> {
        find::find(&Places::from_env()).await
    }

    /// The URL for clients, `nats://127.0.0.1:<port>`; the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on which the server listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, or `None` once the server has been stopped or killed.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The program that runs, with its version.
    pub fn program(&self) -> &ServerProgram {
        &self.program
    }

    /// The server's log file.
    pub fn log_file(&self) -> PathBuf {
        log::log_file(&self.settings.store_dir)
    }

    /// Stops the server cleanly, and by force when it takes longer than 10 s. Does nothing when it does not run.
    ///
    /// # Errors
    /// When the process cannot be stopped.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        let Some(pid) = self.child.id() else {
            return Ok(());
        };
        let asked = launch::ask_to_stop(&self.program.path, pid).await;
        if asked && timeout(STOP_LIMIT, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        self.kill().await
    }

    /// Kills the server at once (`kill -9`), as a crash would.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        if self.child.id().is_none() {
            return Ok(());
        }
        self.child
            .kill()
            .await
            .map_err(|source| ServerError::Stop { source })
    }

    /// Starts the server again on the same port and store; stops it first if it still runs.
    ///
    /// # Errors
    /// As [`LocalServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.stop().await?;
        let give_up = Instant::now() + PORT_LIMIT;
        // While the server was away, a reconnecting client may have been given its port for an outgoing connection.
        let launched = loop {
            match launch::launch(
                &self.program.path,
                &self.settings,
                Some(self.port),
                &self.lock,
            )
            .await
            {
                Err(ServerError::PortTaken { .. }) if Instant::now() < give_up => {
                    sleep(Duration::from_millis(50)).await
                }
                other => break other?,
            }
        };
        self.child = launched.child;
        Ok(())
    }

    /// Waits until the server ends by itself and returns how. Safe to use in `select!`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn exited(&mut self) -> Result<ExitStatus, ServerError> {
        self.child
            .wait()
            .await
            .map_err(|source| ServerError::Stop { source })
    }

    /// Kills the server without waiting; `true` once it is gone.
    pub(crate) fn kill_now(&mut self) -> bool {
        // An error means that it is gone already, and then `try_wait` says so.
        let _ = self.child.start_kill();
        !matches!(self.child.try_wait(), Ok(None))
    }
}

#[cfg(test)]
mod tests;
