//! The process: its configuration file, its start, and the wait until it answers.

use std::fs;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::log::{log_end, log_file};
use super::{LocalServerBuilder, ServerError};

/// An empty server answers in 20 ms; the rest is room for a large store and a busy machine.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often to look again while the server starts.
const POLL: Duration = Duration::from_millis(5);

/// The log never takes more than two files of this size.
const LOG_SIZE: u64 = 8 * 1024 * 1024;

/// A server that answers.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) port: u16,
}

/// Starts the program and waits until JetStream answers.
pub(super) async fn launch(
    program: &Path,
    settings: &LocalServerBuilder,
    port: Option<u16>,
    lock: &fs::File,
) -> Result<Launched, ServerError> {
    let store = &settings.store_dir;
    let unusable = |source| ServerError::Store {
        store: store.clone(),
        source,
    };
    let (config, log) = prepare(settings, port).map_err(unusable)?;
    let log_start = log.metadata().map_or(0, |found| found.len());
    let inherited = lock.try_clone().map_err(unusable)?;
    let mut child = spawn(program, &config, log, inherited)?;
    note_pid(lock, &child).map_err(unusable)?;
    let trouble = tokio::select! {
        status = child.wait() => exited(status, port, &log_end(store, log_start)),
        port = answering(store) => return Ok(Launched { child, port }),
        () = sleep(START_LIMIT) => ServerError::NotReady { limit: START_LIMIT, log: log_end(store, log_start) },
    };
    // Not left to `kill_on_drop`: the caller may start another server on this store at once.
    let _ = child.kill().await;
    Err(trouble)
}

/// Asks a server to stop cleanly. The server's own program sends the signal, which spares a dependency for it.
pub(super) async fn ask_to_stop(program: &Path, pid: u32) -> bool {
    let mut command = Command::new(program);
    // `term`, not `stop`: the server's word `stop` means SIGKILL.
    command
        .arg("--signal")
        .arg(format!("term={pid}"))
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    matches!(timeout(Duration::from_secs(5), command.status()).await, Ok(Ok(status)) if status.success())
}

/// Writes the configuration file and opens the log.
fn prepare(settings: &LocalServerBuilder, port: Option<u16>) -> io::Result<(PathBuf, fs::File)> {
    // Absolute, because the server resolves paths from its own point of view.
    let store = fs::canonicalize(&settings.store_dir)?;
    for stale in ports_files(&store)? {
        fs::remove_file(stale)?;
    }
    let config = store.join("nats-server.json");
    let text = serde_json::to_vec_pretty(&server_config(settings, &store, port))?;
    fs::write(&config, text)?;
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_file(&store))?;
    Ok((config, log))
}

/// The server's configuration; its format contains JSON.
fn server_config(
    settings: &LocalServerBuilder,
    store: &Path,
    port: Option<u16>,
) -> serde_json::Value {
    let mut config = json!({
        "host": "127.0.0.1",
        // With -1 the server chooses a free port and writes it down: no other process can take it in between.
        "port": port.map_or(-1, i32::from),
        "ports_file_dir": store,
        "log_file": log_file(store),
        "logfile_size_limit": LOG_SIZE,
        "logfile_max_num": 2,
        "jetstream": { "store_dir": store },
    });
    if settings.sync_always {
        config["jetstream"]["sync_interval"] = json!("always");
    }
    if let Some(bytes) = settings.max_payload {
        config["max_payload"] = json!(bytes);
    }
    config
}

fn spawn(
    program: &Path,
    config: &Path,
    log: fs::File,
    lock: fs::File,
) -> Result<Child, ServerError> {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).kill_on_drop(true);
    // The server never reads its input. As its input it holds the lock for as long as it lives.
    command.stdin(lock).stdout(Stdio::null());
    // What the server says before it has read its configuration goes to the same log.
    command.stderr(log);
    // A group of its own: Ctrl-C in a terminal must reach this process first, which stops the server last.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(|source| ServerError::Unusable {
        program: program.to_owned(),
        source,
    })
}

/// Writes into the lock file who holds it, for whoever is refused.
fn note_pid(mut lock: &fs::File, child: &Child) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", child.id().unwrap_or_default())
}

/// Waits until the server has a port and JetStream answers on it. The caller bounds the time.
async fn answering(store: &Path) -> u16 {
    loop {
        if let Some(port) = written_port(store)
            && jetstream_answers(port).await
        {
            return port;
        }
        sleep(POLL).await;
    }
}

async fn jetstream_answers(port: u16) -> bool {
    let Ok(client) = async_nats::connect(format!("nats://127.0.0.1:{port}")).await else {
        return false;
    };
    async_nats::jetstream::new(client)
        .query_account()
        .await
        .is_ok()
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// The port in the file that the server writes once it listens; `None` while it is missing or half written.
fn written_port(store: &Path) -> Option<u16> {
    let file = ports_files(store).ok()?.pop()?;
    let ports: Ports = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    ports.nats.first()?.rsplit(':').next()?.parse().ok()
}

fn ports_files(store: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(store)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some("ports".as_ref()))
        .collect())
}

fn exited(status: io::Result<ExitStatus>, port: Option<u16>, log: &str) -> ServerError {
    match (status, port) {
        (Ok(_), Some(port)) if log.contains("address already in use") => {
            ServerError::PortTaken { port }
        }
        (Ok(status), _) => ServerError::Exited {
            status,
            log: log.to_owned(),
        },
        (Err(source), _) => ServerError::Stop { source },
    }
}
