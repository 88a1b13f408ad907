//! The settings of a local server, and its store folder.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::{LocalServer, ServerError, find, launch};

/// What a [`LocalServer`] is to be like. The defaults: a free port, data in `.mcp/nats` below the current directory.
#[derive(Debug, Clone)]
pub struct LocalServerBuilder {
    pub(super) store_dir: PathBuf,
    pub(super) port: Option<u16>,
    pub(super) sync_always: bool,
    pub(super) max_payload: Option<u32>,
    program: Option<PathBuf>,
}

impl Default for LocalServerBuilder {
    fn default() -> Self {
        Self {
            store_dir: PathBuf::from(".mcp/nats"),
            port: None,
            sync_always: false,
            max_payload: None,
            program: None,
        }
    }
}

impl LocalServerBuilder {
    /// The folder for streams, log and configuration; created when missing, kept when the server stops.
    pub fn store_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.store_dir = path.into();
        self
    }

    /// The port, or `None` (default) for one that is free.
    pub fn port(mut self, port: impl Into<Option<u16>>) -> Self {
        self.port = port.into();
        self
    }

    /// Whether each stored message is synced to disk before it is acknowledged (default: no). It costs nine tenths of
    /// the rate and protects from a power cut; a killed server loses nothing either way.
    pub fn sync_always(mut self, always: bool) -> Self {
        self.sync_always = always;
        self
    }

    /// The largest message in bytes, headers included (default: the server's, 1 MiB).
    pub fn max_payload(mut self, bytes: u32) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// The nats-server to run, instead of the one that [`LocalServer::find`] finds.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Starts the server and returns when JetStream answers, after 10 s at most.
    ///
    /// # Errors
    /// No usable nats-server, port or store folder taken, or the server stopped at once: then with the end of its log.
    pub async fn start(self) -> Result<LocalServer, ServerError> {
        let program = match &self.program {
            Some(path) => find::check(path).await?,
            None => LocalServer::find().await?,
        };
        let lock = lock_store(&self.store_dir)?;
        let launched = launch::launch(&program.path, &self, self.port, &lock).await?;
        let url = format!("nats://127.0.0.1:{}", launched.port);
        Ok(LocalServer {
            program,
            settings: self,
            child: launched.child,
            port: launched.port,
            url,
            lock,
        })
    }
}

/// Makes the store folder and takes its lock: two servers on one store would destroy each other's streams. The server
/// inherits the lock, so that one left behind by a killed parent still keeps others out.
fn lock_store(store: &Path) -> Result<File, ServerError> {
    let unusable = |source| ServerError::Store {
        store: store.to_owned(),
        source,
    };
    std::fs::create_dir_all(store).map_err(unusable)?;
    let path = store.join("server.lock");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&path).unwrap_or_default();
            Err(ServerError::StoreInUse {
                store: store.to_owned(),
                pid: pid.trim().to_owned(),
            })
        }
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}
