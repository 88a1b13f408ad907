//! `mcpctl new`: a project with one agent, ready to run.
//!
//! `sdk` finds out where the SDK comes from, `template` has the files.

mod sdk;
mod template;

use std::{env, fs, io, path::Path};

use clap::Args;
use mcp_agent_sdk::Name;
use serde_json::json;

use crate::{cli::Global, failure::Failure, output};
use sdk::Sdk;

/// Names that cargo refuses for a package, or that would shadow a crate that the project uses.
const RESERVED: [&str; 16] = [
    "abstract",
    "alloc",
    "async",
    "await",
    "core",
    "fn",
    "mcp-agent-sdk",
    "proc_macro",
    "self",
    "serde",
    "std",
    "super",
    "test",
    "tokio",
    "use",
    "workflow",
];

/// Writes a new project with one agent, its test and a Dockerfile into a folder of that name.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The agent's name, and the folder's: small letters, digits, _ and -
    name: String,
    /// Where mcp-agent-sdk comes from: a checkout, or the address of a git repository
    /// (default: the checkout that this folder or mcpctl lies in)
    #[arg(long, value_name = "PATH|GIT")]
    sdk: Option<String>,
}

pub(crate) fn run(args: &NewArgs, global: &Global) -> Result<(), Failure> {
    check_name(&args.name)?;
    let here = env::current_dir()
        .map_err(|error| Failure::io("cannot find the current folder", &error))?;
    let sdk = match &args.sdk {
        Some(text) => Sdk::named(text)?,
        None => Sdk::around(&here),
    };
    let folder = here.join(&args.name);
    if folder.exists() {
        return Err(
            Failure::usage(format!("{} exists already", folder.display()))
                .remedy("choose another name, or remove it first"),
        );
    }
    let files = template::files(&args.name, &sdk, in_workspace(&here));
    write(&folder, &files)
        .map_err(|error| Failure::io(format!("cannot write to {}", folder.display()), &error))?;
    if let Some(lock) = sdk.lock_file() {
        // The versions with which the SDK is tested, and no need for the registry when they are cached.
        let _ = fs::copy(lock, folder.join("Cargo.lock"));
    }
    announce(&args.name, &folder, &sdk, global);
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    Name::new(name).map_err(|error| Failure::usage(error.to_string()))?;
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(Failure::usage(format!(
            "`{name}` cannot name a package: it must begin with a letter"
        )));
    }
    if RESERVED.contains(&name) || name.starts_with("mcp-") || name.starts_with("mcp_") {
        return Err(
            Failure::usage(format!("the name `{name}` is reserved")).remedy("choose another one")
        );
    }
    Ok(())
}

/// Whether cargo would take a project here for a forgotten member of a workspace.
fn in_workspace(folder: &Path) -> bool {
    let manifest =
        |folder: &Path| fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    folder.ancestors().any(|folder| {
        let manifest = manifest(folder);
        manifest
            .lines()
            .any(|line| line.trim().starts_with("[workspace"))
    })
}

fn write(folder: &Path, files: &[(&str, String)]) -> io::Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}

fn announce(name: &str, folder: &Path, sdk: &Sdk, global: &Global) {
    if global.json {
        return output::json(&json!({ "name": name, "folder": folder, "sdk": sdk.dependency() }));
    }
    output::line(format!("{name} is ready. Next:"));
    if let Some(remark) = sdk.remark() {
        output::line(format!("  {remark}"));
    }
    let mcpctl = output::program();
    output::hints(&[
        (
            format!("cd {name} && cargo test"),
            "its own test, on a server of its own",
        ),
        (format!("{mcpctl} dev"), "a server, in a second terminal"),
        ("cargo run".to_owned(), "the agent"),
        (
            format!("{mcpctl} send {name} greet -p '{{\"name\": \"Ada\"}}'"),
            "ask it, in a third terminal",
        ),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_or_the_protocol_refuses_are_refused_first() {
        for good in ["greeter", "content_agent", "a-1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Greeter",
            "9lives",
            "../x",
            "a b",
            "test",
            "workflow",
            "tokio",
            "mcp-runtime",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workspaces_around_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        assert!(!in_workspace(&inner));
        fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        assert!(in_workspace(&inner));
    }
}
