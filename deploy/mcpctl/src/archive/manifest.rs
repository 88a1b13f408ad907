//! The folder of a backup: `manifest.json`, and `<stream>.snapshot` for each stream.
//!
//! The manifest is written last: a folder without one is no backup. Snapshots are the server's own format (a compressed
//! archive), which this and newer nats-servers take back.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

pub(crate) const FORMAT: &str = "mcp-backup";
/// Raised when an older `mcpctl` could not restore it.
pub(crate) const VERSION: u32 = 1;

const NAME: &str = "manifest.json";

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) created_at: String,
    pub(crate) namespace: String,
    pub(crate) mcpctl: String,
    pub(crate) server: String,
    pub(crate) topology: u32,
    pub(crate) shards: u16,
    /// Whether deliveries were paused while it was taken.
    pub(crate) paused: bool,
    /// Messages that were being worked on all the same: after a restore they are delivered again.
    pub(crate) in_hand: u64,
    /// In the order in which they were taken.
    pub(crate) streams: Vec<Entry>,
}

/// One stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) stream: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) messages: u64,
    /// The stream's settings and state, as the server told them.
    pub(crate) config: Value,
    pub(crate) state: Value,
}

impl Manifest {
    /// Writes it, and syncs it to the disk.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(NAME);
        let written = || -> io::Result<()> {
            let mut file = create(&path)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))
    }

    /// Reads it, and refuses what this program cannot restore.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(NAME);
        let text = fs::read(&path)
            .map_err(|error| Failure::io(format!("{} is no backup", folder.display()), &error))?;
        let refused = |why: String| Failure::usage(format!("{}: {why}", path.display()));
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| refused(format!("not readable: {error}")))?;
        let (format, version) = (&value["format"], value["version"].as_u64());
        if format != FORMAT || version.is_none() {
            return Err(refused("not the manifest of a backup".to_owned()));
        }
        if version > Some(u64::from(VERSION)) {
            return Err(refused(format!(
                "format version {}, but this mcpctl knows no version after {VERSION}",
                version.unwrap_or_default()
            ))
            .remedy("restore with the mcpctl that made it, or a newer one"));
        }
        serde_json::from_value(value).map_err(|error| refused(format!("not readable: {error}")))
    }

    /// Checks that every snapshot is there, whole.
    pub(crate) fn verify(&self, folder: &Path) -> Result<(), Failure> {
        self.streams
            .iter()
            .try_for_each(|entry| entry.verify(folder))
    }
}

impl Entry {
    /// How many consumers come back with it.
    pub(crate) fn consumers(&self) -> usize {
        let count = self.state["consumer_count"].as_u64().unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// How many copies it had.
    pub(crate) fn replicas(&self) -> u8 {
        let count = self.config["num_replicas"].as_u64().unwrap_or(1);
        u8::try_from(count).unwrap_or(1)
    }

    /// Where its snapshot lies. The name comes from a file that somebody may have edited: it must not lead elsewhere.
    pub(crate) fn path(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let plain = !self.file.is_empty() && !self.file.contains(['/', '\\']) && self.file != "..";
        match plain {
            true => Ok(folder.join(&self.file)),
            false => Err(Failure::usage(format!(
                "`{}` is no file of a backup",
                self.file
            ))),
        }
    }

    fn verify(&self, folder: &Path) -> Result<(), Failure> {
        let path = self.path(folder)?;
        let (bytes, sha256) = digest(&path)
            .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
        if (bytes, &sha256) == (self.bytes, &self.sha256) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} is damaged: {bytes} bytes with SHA-256 {sha256}, but {} bytes with {} were saved",
            path.display(),
            self.bytes,
            self.sha256
        ))
        .remedy("nothing was restored; take another copy of the backup"))
    }
}

/// A new file that nobody else can read: bodies of messages stand in it.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(hash)));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

pub(crate) fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, text: &[u8]) -> Entry {
        let mut hash = Sha256::new();
        hash.update(text);
        Entry {
            stream: "mcp_events".to_owned(),
            file: file.to_owned(),
            bytes: text.len() as u64,
            sha256: hex(hash),
            messages: 1,
            config: Value::Null,
            state: Value::Null,
        }
    }

    #[test]
    fn damaged_and_missing_snapshots_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let whole = entry("a.snapshot", b"whole");
        assert!(whole.verify(dir.path()).is_err(), "not there");
        fs::write(dir.path().join("a.snapshot"), b"whole").unwrap();
        whole.verify(dir.path()).unwrap();
        fs::write(dir.path().join("a.snapshot"), b"whale").unwrap();
        let said = whole.verify(dir.path()).unwrap_err().sentence();
        assert!(
            said.contains("is damaged") && said.contains("nothing was restored"),
            "{said}"
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../a", "/etc/passwd", "..", "", "a\\b"] {
            assert!(
                entry(name, b"").path(Path::new("/backup")).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn foreign_and_newer_manifests_are_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, part: &str| {
            fs::write(dir.path().join(NAME), text).unwrap();
            let said = Manifest::read(dir.path()).unwrap_err().sentence();
            assert!(said.contains(part), "{text}: {said}");
        };
        check("{", "not readable");
        check(
            r#"{"format": "tar", "version": 1}"#,
            "not the manifest of a backup",
        );
        check(
            r#"{"format": "mcp-backup", "version": 7}"#,
            "format version 7",
        );
        check(r#"{"format": "mcp-backup", "version": 1}"#, "missing field");
    }
}
