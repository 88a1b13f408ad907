//! `mcpctl new`: the project compiles at once and its test passes.

use std::{fs, path::Path, process::Stdio};

use mcp_tests::{nats_server, run_in, workspace};
use tokio::process::Command;

/// The workspace's own profiles, so that the project uses what the workspace has built already.
fn profiles() -> String {
    let manifest =
        fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace has a manifest");
    let start = manifest
        .find("\n[profile")
        .expect("the workspace has profiles");
    manifest[start..].to_owned()
}

async fn cargo_test(project: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--color", "never"])
        .current_dir(project)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("MCP_")
        {
            command.env_remove(name);
        }
    }
    // The folder of the running test: target/debug/deps/mcpctl-….
    let exe = std::env::current_exe().expect("a test is a program");
    let target = exe
        .ancestors()
        .nth(3)
        .expect("a test lies in target/debug/deps");
    command
        .env("CARGO_TARGET_DIR", target)
        .env("MCP_NATS_SERVER", nats_server().await);
    command.output().await.expect("cargo can be run")
}

#[tokio::test]
async fn new_project_passes_its_own_test() {
    let dir = tempfile::tempdir().unwrap();
    let sdk = workspace().display().to_string();
    let made = run_in(dir.path(), "", &["new", "greeter-of_2", "--sdk", &sdk]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let project = dir.path().join("greeter-of_2");
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "Dockerfile",
        ".gitignore",
        "src/main.rs",
        "src/agent.rs",
    ] {
        assert!(project.join(file).is_file(), "{file} is missing");
    }
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    fs::write(project.join("Cargo.toml"), manifest + &profiles()).unwrap();
    let tested = cargo_test(&project).await;
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(
        tested.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    assert!(said.contains("greets_by_name ... ok"), "{said}");
}

#[tokio::test]
async fn new_project_leaves_what_exists_alone_and_stands_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    let made = run_in(
        dir.path(),
        "",
        &[
            "new",
            "greeter",
            "--sdk",
            "https://git.example.com/mcp.git",
            "--json",
        ],
    )
    .await;
    assert_eq!(
        (made.code, made.json()["name"].as_str()),
        (0, Some("greeter")),
        "{made:?}"
    );
    let manifest = fs::read_to_string(dir.path().join("greeter/Cargo.toml")).unwrap();
    assert!(
        manifest.contains("git = \"https://git.example.com/mcp.git\""),
        "{manifest}"
    );
    assert!(manifest.ends_with("[workspace]\n"), "{manifest}");

    fs::write(dir.path().join("greeter/mine.txt"), "mine").unwrap();
    let again = run_in(dir.path(), "", &["new", "greeter"]).await;
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");
    assert_eq!(
        fs::read_to_string(dir.path().join("greeter/mine.txt")).unwrap(),
        "mine"
    );
}
