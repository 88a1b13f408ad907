//! The server's log, read only to explain why it did not start.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of the log's end is read to explain a failure.
const LOG_TAIL: u64 = 8 * 1024;

pub(super) fn log_file(store: &Path) -> PathBuf {
    store.join("server.log")
}

/// What the log says since `start`: the fatal lines, or the last few when there are none.
pub(super) fn log_end(store: &Path, start: u64) -> String {
    let text = read_tail(&log_file(store), start).unwrap_or_default();
    let fatal: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("[FTL] ").map(|(_, said)| said))
        .collect();
    if !fatal.is_empty() {
        return fatal.join("; ");
    }
    let lines: Vec<&str> = text.lines().collect();
    match lines[lines.len().saturating_sub(5)..].join("; ") {
        end if end.trim().is_empty() => "its log is empty".to_owned(),
        end => end,
    }
}

fn read_tail(path: &Path, start: u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let from = start.max(file.metadata()?.len().saturating_sub(LOG_TAIL));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
