//! Finding a nats-server that is new enough.
//!
//! The order of the search is a function of [`Places`] alone, so that it can be tested without touching this process's
//! environment.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mcp_runtime::topology::ServerVersion;
use tokio::process::Command;
use tokio::time::timeout;

use super::ServerError;

/// Where `make tools` puts the server, below the project's folder.
const TOOLS: &str = ".tools/bin";

/// Printing a version takes milliseconds; the rest is room for a machine that compiles at the same time.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// A nats-server that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: ServerVersion,
}

/// Where to look, in this order.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The user's own choice (`MCP_NATS_SERVER`).
    pub(super) explicit: Option<PathBuf>,
    /// Folders as in `PATH`.
    pub(super) path: Option<OsString>,
    /// Folders from which `.tools/bin` is looked for, upward.
    pub(super) inside: Vec<PathBuf>,
}

impl Places {
    pub(super) fn from_env() -> Self {
        let program_dir = std::env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(Path::to_owned));
        Self {
            explicit: std::env::var_os("MCP_NATS_SERVER")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            path: std::env::var_os("PATH"),
            inside: std::env::current_dir()
                .ok()
                .into_iter()
                .chain(program_dir)
                .collect(),
        }
    }

    fn candidates(&self) -> impl Iterator<Item = PathBuf> {
        let name = format!("nats-server{}", std::env::consts::EXE_SUFFIX);
        let on_path = self
            .path
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|dir| !dir.as_os_str().is_empty());
        let tools = self
            .inside
            .iter()
            .flat_map(|dir| dir.ancestors())
            .map(|dir| dir.join(TOOLS));
        on_path
            .chain(tools)
            .map(move |dir| dir.join(&name))
            .filter(|program| is_program(program))
    }
}

/// Finds the first usable server. The user's own choice is taken or refused, never passed over; a server on `PATH`
/// that is too old (distributions are years behind) is passed over for a newer one in the tool folder.
pub(super) async fn find(places: &Places) -> Result<ServerProgram, ServerError> {
    if let Some(program) = &places.explicit {
        return check(program).await;
    }
    let mut refused = None;
    for program in places.candidates() {
        match check(&program).await {
            Ok(found) => return Ok(found),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(ServerError::NotFound))
}

/// Asks a program for its version and refuses it if it is too old.
pub(super) async fn check(program: &Path) -> Result<ServerProgram, ServerError> {
    let answer = version_answer(program)
        .await
        .map_err(|source| ServerError::Unusable {
            program: program.to_owned(),
            source,
        })?;
    let Some(version) = answer
        .trim()
        .strip_prefix("nats-server: ")
        .and_then(ServerVersion::parse)
    else {
        let answer = answer.trim().chars().take(80).collect();
        return Err(ServerError::Foreign {
            program: program.to_owned(),
            answer,
        });
    };
    if version < ServerVersion::MINIMUM {
        return Err(ServerError::TooOld {
            program: program.to_owned(),
            found: version,
        });
    }
    Ok(ServerProgram {
        path: program.to_owned(),
        version,
    })
}

async fn version_answer(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(VERSION_LIMIT, command.output())
        .await
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no version within {} s", VERSION_LIMIT.as_secs()),
            )
        })??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
