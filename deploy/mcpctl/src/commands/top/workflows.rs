//! How many workflows stand where. After the first look only those are read that have changed.

use std::collections::{BTreeMap, HashMap};

use mcp_agent_sdk::{
    Client, WorkflowStatus,
    runtime::{Format, Name, transport},
};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, streams};

/// Workflows that are known one by one; of a system with more, the rest is not counted.
const MOST: usize = 200_000;

/// Tasks of a shard among which starts are looked for; where more are stored, it would be too much for a look.
const MOST_TASKS: u64 = 5_000;

/// Of a record, what is counted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Standing {
    definition: Name,
    state: Name,
    status: WorkflowStatus,
}

/// Where the workflows of one definition stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Definition {
    pub(super) definition: String,
    /// How many are stored and have no record yet: no engine has begun with them, or is in their first state.
    pub(super) starting: usize,
    /// How many of each status; those of which there are none are left out.
    pub(super) statuses: BTreeMap<&'static str, usize>,
    /// How many that have not ended are in each state.
    pub(super) states: BTreeMap<String, usize>,
}

/// The workflows of a namespace, and how far their buckets have been read.
#[derive(Debug, Default)]
pub(super) struct Standings {
    next: Vec<u64>,
    known: HashMap<String, Standing>,
    /// The definition of each workflow whose start is stored.
    started: HashMap<String, String>,
}

impl Standings {
    /// Takes in what has changed since the last look.
    pub(super) async fn read(&mut self, client: &Client) -> Result<(), Failure> {
        if self.next.is_empty() {
            self.next = vec![1; usize::from(streams::shards(client).await?)];
        }
        self.started.clear();
        for (shard, next) in (0..).zip(&mut self.next) {
            starts(client, shard, &mut self.started).await?;
            let bucket = client.namespace().workflows_bucket(shard);
            let known = &mut self.known;
            let take = |id: &str, record: Option<&[u8]>| note(known, id, record);
            let read = transport::scan_from(client, &bucket, *next, take).await;
            *next = read.map_err(|error| {
                Failure::unreachable(format!("the workflows cannot be read: {error}"))
            })?;
        }
        Ok(())
    }

    /// Forgets everything: a server that was away may have lost what was read from it.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// The counts, by definition.
    pub(super) fn counted(&self) -> Vec<Definition> {
        let mut counted: BTreeMap<&str, Definition> = BTreeMap::new();
        for standing in self.known.values() {
            let name = standing.definition.as_str();
            let of = counted.entry(name).or_default();
            *of.statuses.entry(standing.status.as_str()).or_default() += 1;
            if !standing.status.is_ended() {
                *of.states.entry(standing.state.to_string()).or_default() += 1;
            }
        }
        for (id, definition) in &self.started {
            if !self.known.contains_key(id) {
                counted.entry(definition).or_default().starting += 1;
            }
        }
        let named = |(name, of): (&str, Definition)| Definition {
            definition: name.to_owned(),
            ..of
        };
        counted.into_iter().map(named).collect()
    }
}

/// The starts that no engine has acknowledged yet.
async fn starts(
    client: &Client,
    shard: u16,
    started: &mut HashMap<String, String>,
) -> Result<(), Failure> {
    let namespace = client.namespace();
    let name = namespace.tasks_stream(shard);
    let stored = streams::info(client.jetstream(), &name).await?;
    let stored = stored.map_or(0, |info| info.state.messages);
    if stored == 0 || stored > MOST_TASKS {
        return Ok(());
    }
    let stream = streams::existing(client.jetstream(), &name).await?;
    let filter = format!("{namespace}.wf.*.{shard}.start.*");
    for subject in streams::subjects(&stream, &filter).await?.into_keys() {
        let tokens: Vec<&str> = subject.split('.').collect();
        if let [_, _, definition, _, _, id] = tokens[..] {
            started.insert(id.to_owned(), definition.to_owned());
        }
    }
    Ok(())
}

fn note(known: &mut HashMap<String, Standing>, id: &str, record: Option<&[u8]>) {
    // What cannot be read is no workflow of ours.
    let standing = record.and_then(|record| Format::Msgpack.decode(record).ok());
    match standing {
        Some(standing) if known.len() < MOST || known.contains_key(id) => {
            known.insert(id.to_owned(), standing);
        }
        Some(_) => {}
        None => {
            known.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workflows_are_counted_where_they_stand_now() {
        let mut standings = Standings::default();
        let record = |state: &str, status: &str| {
            let record =
                json!({ "definition": "film", "state": state, "status": status, "data": [1] });
            Format::Msgpack.encode(&record).unwrap()
        };
        let known = &mut standings.known;
        for id in ["a", "b", "c"] {
            note(known, id, Some(&record("script", "running")));
        }
        note(known, "a", Some(&record("done", "completed")));
        note(known, "c", None);
        note(known, "d", Some(b"nonsense"));
        for id in ["b", "e"] {
            standings.started.insert(id.to_owned(), "film".to_owned());
        }
        let [film] = &standings.counted()[..] else {
            panic!("one definition")
        };
        assert_eq!((film.definition.as_str(), film.starting), ("film", 1));
        assert_eq!(
            film.statuses,
            BTreeMap::from([("completed", 1), ("running", 1)])
        );
        assert_eq!(film.states, BTreeMap::from([("script".to_owned(), 1)]));
    }
}
