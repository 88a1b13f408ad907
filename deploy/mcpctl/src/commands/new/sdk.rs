//! Where the new project's `mcp-agent-sdk` comes from.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Stands where only the reader knows the address. `.invalid` is a domain that never exists.
const UNKNOWN: &str = "https://example.invalid/put-the-address-of-your-mcp-repository-here.git";

/// Where the SDK comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sdk {
    /// The folder `agent-sdk` of a checkout.
    Path(PathBuf),
    /// A git repository.
    Git(String),
    /// Nobody knows: the project says so, and does not build before somebody does.
    Unknown,
}

impl Sdk {
    /// What `--sdk` says.
    pub(super) fn named(text: &str) -> Result<Self, Failure> {
        if ["https://", "http://", "ssh://", "git://", "file://", "git@"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            return match text.contains(['"', '\\', '\n']) {
                true => Err(Failure::usage(format!(
                    "`{text}` is no address of a git repository"
                ))),
                false => Ok(Self::Git(text.to_owned())),
            };
        }
        let folder = fs::canonicalize(text)
            .map_err(|error| Failure::io(format!("cannot find {text}"), &error))?;
        sdk_at(&folder).map(Self::Path).ok_or_else(|| {
            Failure::usage(format!("{text} contains no mcp-agent-sdk"))
                .remedy("name the checkout's folder")
        })
    }

    /// The checkout in which `here` or this program lies.
    pub(super) fn around(here: &Path) -> Self {
        let exe = env::current_exe().unwrap_or_default();
        let folders = here.ancestors().chain(exe.ancestors());
        folders
            .into_iter()
            .find_map(sdk_at)
            .map_or(Self::Unknown, Self::Path)
    }

    /// The value in `Cargo.toml`.
    pub(super) fn dependency(&self) -> String {
        match self {
            // A literal string of TOML: no character of a path means anything in it but the quote itself.
            Self::Path(path) => format!("path = '{}'", path.display()),
            Self::Git(address) => format!("git = \"{address}\""),
            Self::Unknown => format!("git = \"{UNKNOWN}\""),
        }
    }

    /// What is to be done before the project builds.
    pub(super) fn remark(&self) -> Option<&'static str> {
        match self {
            Self::Unknown => Some(
                "put the address of your MCP repository into Cargo.toml (mcpctl was in no checkout and could not know it)",
            ),
            _ => None,
        }
    }

    /// The checkout's root.
    pub(super) fn checkout(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => path.parent(),
            _ => None,
        }
    }

    pub(super) fn lock_file(&self) -> Option<PathBuf> {
        self.checkout()
            .map(|root| root.join("Cargo.lock"))
            .filter(|lock| lock.is_file())
    }
}

/// The SDK's folder in a checkout, or `folder` if it is that itself.
fn sdk_at(folder: &Path) -> Option<PathBuf> {
    [folder.join("agent-sdk"), folder.to_owned()]
        .into_iter()
        .find(|candidate| {
            let manifest = fs::read_to_string(candidate.join("Cargo.toml")).unwrap_or_default();
            manifest
                .lines()
                .any(|line| line.trim() == "name = \"mcp-agent-sdk\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkout_is_found_from_any_folder_inside() {
        let dir = tempfile::tempdir().unwrap();
        let (sdk, deep) = (dir.path().join("agent-sdk"), dir.path().join("x/y"));
        fs::create_dir_all(&sdk).unwrap();
        fs::create_dir_all(&deep).unwrap();
        fs::write(
            sdk.join("Cargo.toml"),
            "[package]\nname = \"mcp-agent-sdk\"\n",
        )
        .unwrap();
        assert_eq!(Sdk::around(&deep), Sdk::Path(sdk.clone()));
        for named in [dir.path(), &sdk] {
            let found = Sdk::named(&named.display().to_string()).unwrap();
            assert_eq!(found, Sdk::Path(fs::canonicalize(&sdk).unwrap()));
        }
        assert!(Sdk::named(&deep.display().to_string()).is_err());
    }

    #[test]
    fn addresses_are_told_from_folders() {
        let check = |text: &str| assert_eq!(Sdk::named(text).unwrap(), Sdk::Git(text.to_owned()));
        check("https://git.example.com/mcp.git");
        check("git@git.example.com:mcp.git");
        assert!(Sdk::named("https://x\"y").is_err());
        assert!(Sdk::Unknown.dependency().contains(".invalid/"));
    }
}
