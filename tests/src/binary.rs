//! The programs under test, built once per test run.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use mcp_agent_sdk::LocalServer;
use tokio::sync::OnceCell;

/// The workspace's root.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// The `mcpctl` of this tree, built when first asked for.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn mcpctl() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("mcpctl"))
}

/// The agents of the demo, built when first asked for.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn video_studio() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("video-studio"))
}

/// Builds a program and returns where it lies, which cargo itself says.
fn build(program: &str) -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    // With the features that the whole workspace is built with: else half of it would be built a second time.
    command.args(["build", "--quiet", "--message-format=json"]);
    command.args(["--workspace", "--bin", program]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo told this test about its own package would make build scripts believe that something has changed.
    for (name, _) in
        env::vars_os().filter(|(name, _)| is_about_this_package(&name.to_string_lossy()))
    {
        command.env_remove(name);
    }
    let built = command
        .current_dir(workspace())
        .output()
        .expect("cargo can be run");
    let stdout = String::from_utf8_lossy(&built.stdout);
    let artifacts = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs =
        artifacts.filter_map(|artifact| Some(PathBuf::from(artifact["executable"].as_str()?)));
    programs.next().unwrap_or_else(|| {
        panic!(
            "`{program}` does not build: {stdout}{}",
            String::from_utf8_lossy(&built.stderr)
        );
    })
}

fn is_about_this_package(variable: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ]
    .iter()
    .any(|prefix| variable.starts_with(prefix))
}

/// The nats-server that the tests use, for processes that run in other folders.
///
/// # Panics
/// When there is none; the message says what to do.
pub async fn nats_server() -> &'static Path {
    static PATH: OnceCell<PathBuf> = OnceCell::const_new();
    PATH.get_or_init(|| async {
        LocalServer::find()
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .path
    })
    .await
}
