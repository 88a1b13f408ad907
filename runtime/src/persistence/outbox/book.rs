//! The outbox on disk: entries by lane and sequence, their ids beside them. Everything here blocks.

use std::{fs, path::Path};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::{
    message::{Format, McpError, Priority},
    persistence::{Cursor, Envelope, MessageQuery, Page, Recovered},
};

use super::{OutboxConfig, describe};

/// Entries by lane, the highest first, and by the order in which they came.
const ENTRIES: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("entries");
const PLACES: TableDefinition<'_, &str, (u8, u64)> = TableDefinition::new("places");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const NEXT: &str = "next";
const BYTES: &str = "bytes";

/// No entry is larger: servers take 1 MiB by default, and what is larger travels by claim check.
const MAX_ENTRY_BYTES: usize = 8 * 1024 * 1024;

/// Pages of the file that are kept in memory; entries are written once and read once.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    #[error("{limit}")]
    Full { limit: String },
    #[error("it is open in another process")]
    InUse,
    #[error("{size} bytes are over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("an entry cannot be read or written: {0}")]
    Entry(String),
    #[error(transparent)]
    Store(Box<redb::Error>),
    #[error("the work on it was stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

impl<E: Into<redb::Error>> From<E> for BookError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

/// What came of spooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spooled {
    /// The place in its lane.
    pub sequence: u64,
    /// A message with this id was there already; it stays as it was.
    pub duplicate: bool,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) lane: u8,
    pub(super) sequence: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) envelope: Envelope,
    /// Why the server will never take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<McpError>,
}

pub(super) struct Book {
    database: Database,
    max_messages: u64,
    max_bytes: u64,
}

impl Book {
    pub(super) fn open(config: &OutboxConfig) -> Result<Self, BookError> {
        let file = config.folder.join("outbox.redb");
        make_private(&config.folder, &file)?;
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(file);
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => BookError::InUse,
            other => other.into(),
        })?;
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(PLACES)?;
        write.open_table(COUNTERS)?;
        write.commit()?;
        Ok(Self {
            database,
            max_messages: config.max_messages,
            max_bytes: config.max_bytes,
        })
    }

    pub(super) fn add(&self, lane: Priority, envelope: Envelope) -> Result<Spooled, BookError> {
        let id = envelope.id().to_owned();
        let body = encode(&Entry {
            envelope,
            refusal: None,
        })?;
        let write = self.database.begin_write()?;
        let sequence = {
            let mut places = write.open_table(PLACES)?;
            if let Some(place) = places.get(id.as_str())? {
                return Ok(Spooled {
                    sequence: place.value().1,
                    duplicate: true,
                });
            }
            let mut entries = write.open_table(ENTRIES)?;
            let mut counters = write.open_table(COUNTERS)?;
            let counter =
                |name| Ok::<_, BookError>(counters.get(name)?.map_or(0, |value| value.value()));
            let (sequence, bytes) = (counter(NEXT)?, counter(BYTES)? + body.len() as u64);
            self.check_bounds(entries.len()? + 1, bytes)?;
            entries.insert((index(lane), sequence), body.as_slice())?;
            places.insert(id.as_str(), (index(lane), sequence))?;
            counters.insert(NEXT, sequence + 1)?;
            counters.insert(BYTES, bytes)?;
            sequence
        };
        write.commit()?;
        Ok(Spooled {
            sequence,
            duplicate: false,
        })
    }

    fn check_bounds(&self, messages: u64, bytes: u64) -> Result<(), BookError> {
        if messages > self.max_messages {
            return Err(BookError::Full {
                limit: format!("it may hold {} messages", self.max_messages),
            });
        }
        if bytes > self.max_bytes {
            return Err(BookError::Full {
                limit: format!("it may hold {} bytes", self.max_bytes),
            });
        }
        Ok(())
    }

    /// The entries that can be sent, in the order of their lanes, without those in `passed_over`.
    pub(super) fn sendable(
        &self,
        passed_over: &[Place],
        limit: usize,
    ) -> Result<Vec<(Place, Entry)>, BookError> {
        let read = self.database.begin_read()?;
        let mut found = Vec::new();
        for row in read.open_table(ENTRIES)?.iter()? {
            let (key, body) = row?;
            let place = place(key.value());
            if passed_over.contains(&place) {
                continue;
            }
            let entry = decode(body.value())?;
            if entry.refusal.is_none() {
                found.push((place, entry));
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn find(&self, id: &str) -> Result<Option<(Place, Entry)>, BookError> {
        let read = self.database.begin_read()?;
        let Some(at) = read.open_table(PLACES)?.get(id)?.map(|at| at.value()) else {
            return Ok(None);
        };
        match read.open_table(ENTRIES)?.get(at)? {
            Some(body) => Ok(Some((place(at), decode(body.value())?))),
            None => Ok(None),
        }
    }

    pub(super) fn remove_id(&self, id: &str) -> Result<bool, BookError> {
        match self.find(id)? {
            Some((place, _)) => Ok(self.remove(&[place])? > 0),
            None => Ok(false),
        }
    }

    /// Removes entries; returns how many were there.
    pub(super) fn remove(&self, removed: &[Place]) -> Result<u64, BookError> {
        let write = self.database.begin_write()?;
        let mut count = 0;
        {
            let mut entries = write.open_table(ENTRIES)?;
            let mut places = write.open_table(PLACES)?;
            let mut counters = write.open_table(COUNTERS)?;
            let mut bytes = counters.get(BYTES)?.map_or(0, |value| value.value());
            for place in removed {
                let Some(body) = entries.remove((place.lane, place.sequence))? else {
                    continue;
                };
                bytes = bytes.saturating_sub(body.value().len() as u64);
                places.remove(decode(body.value())?.envelope.id())?;
                count += 1;
            }
            counters.insert(BYTES, bytes)?;
        }
        write.commit()?;
        Ok(count)
    }

    /// Notes that the server will never take an entry, so that it no longer stands in the way.
    pub(super) fn refuse(&self, place: Place, refusal: McpError) -> Result<(), BookError> {
        let write = self.database.begin_write()?;
        {
            let mut entries = write.open_table(ENTRIES)?;
            let key = (place.lane, place.sequence);
            let Some(before) = entries.get(key)?.map(|body| body.value().to_vec()) else {
                return Ok(());
            };
            let entry = Entry {
                refusal: Some(refusal),
                ..decode(&before)?
            };
            let after = encode(&entry)?;
            entries.insert(key, after.as_slice())?;
            let mut counters = write.open_table(COUNTERS)?;
            let bytes = counters.get(BYTES)?.map_or(0, |value| value.value());
            counters.insert(
                BYTES,
                bytes.saturating_sub(before.len() as u64) + after.len() as u64,
            )?;
        }
        write.commit()?;
        Ok(())
    }

    pub(super) fn query(&self, query: &MessageQuery) -> Result<Page, BookError> {
        let from = query.after.unwrap_or(Cursor {
            source: 0,
            sequence: 0,
        });
        let read = self.database.begin_read()?;
        let mut page = Page::default();
        for row in read
            .open_table(ENTRIES)?
            .range((from.source, from.sequence)..)?
        {
            let (key, body) = row?;
            let place = place(key.value());
            let message = describe(place, &decode(body.value())?);
            if !query.matches(&message) {
                continue;
            }
            if page.messages.len() == query.page_size() {
                page.next = Some(Cursor {
                    source: place.lane,
                    sequence: place.sequence,
                });
                break;
            }
            page.messages.push(message);
        }
        Ok(page)
    }

    pub(super) fn count(&self) -> Result<Recovered, BookError> {
        let read = self.database.begin_read()?;
        let mut left = Recovered::default();
        for row in read.open_table(ENTRIES)?.iter()? {
            match decode(row?.1.value())?.refusal {
                Some(_) => left.dead += 1,
                None => left.queued += 1,
            }
        }
        Ok(left)
    }

    pub(super) fn len(&self) -> Result<u64, BookError> {
        Ok(self.database.begin_read()?.open_table(ENTRIES)?.len()?)
    }
}

/// Commands may hold secrets: what is made here is the owner's alone.
fn make_private(folder: &Path, file: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    builder.recursive(true).create(folder)?;
    options
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)
        .map(drop)
}

const fn index(lane: Priority) -> u8 {
    lane.index() as u8
}

fn place((lane, sequence): (u8, u64)) -> Place {
    Place { lane, sequence }
}

fn encode(entry: &Entry) -> Result<Vec<u8>, BookError> {
    let body = Format::Msgpack
        .encode(entry)
        .map_err(|error| BookError::Entry(error.to_string()))?;
    match body.len() {
        size if size > MAX_ENTRY_BYTES => Err(BookError::TooLarge {
            size,
            limit: MAX_ENTRY_BYTES,
        }),
        _ => Ok(body.into()),
    }
}

pub(super) fn decode(body: &[u8]) -> Result<Entry, BookError> {
    let entry: Entry = Format::Msgpack
        .decode(body)
        .map_err(|error| BookError::Entry(error.to_string()))?;
    entry.envelope.check().map_err(BookError::Entry)?;
    Ok(entry)
}
