//! The effects file: which keys took effect, and how often anybody tried.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Appends effects under a file lock that all instances on this machine share.
#[derive(Clone)]
pub(super) struct Effects {
    path: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

/// What was read of the file so far: each call reads only what was added since.
#[derive(Default)]
struct Seen {
    keys: HashSet<String>,
    offset: u64,
}

impl Effects {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: Arc::default(),
        }
    }

    pub(super) fn record(&self, key: &str, instance: &str) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut effects = open(&self.path)?;
        // Released when the file is closed, also by a kill.
        effects.lock()?;
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let line = format!("{key} {instance} {now_ms}\n");
        // The run first: a kill between the two shows as a run without an effect, never the reverse.
        open(&self.runs_path())?.write_all(line.as_bytes())?;
        seen.catch_up(&mut effects)?;
        if !seen.keys.contains(key) {
            effects.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn runs_path(&self) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(".runs");
        path.into()
    }
}

impl Seen {
    fn catch_up(&mut self, effects: &mut File) -> io::Result<()> {
        effects.seek(SeekFrom::Start(self.offset))?;
        let mut added = String::new();
        self.offset += effects.read_to_string(&mut added)? as u64;
        self.keys.extend(
            added
                .lines()
                .filter_map(|line| line.split(' ').next())
                .map(str::to_owned),
        );
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_effect_once_and_every_run_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("effects");
        let (one, other) = (Effects::new(&path), Effects::new(&path));
        for effects in [&one, &other, &one] {
            effects.record("a", "i1").unwrap();
        }
        other.record("b", "i2").unwrap();
        let keys = |path: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| line.split(' ').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(keys(&path), ["a", "b"]);
        assert_eq!(keys(&one.runs_path()), ["a", "a", "a", "b"]);
    }
}
