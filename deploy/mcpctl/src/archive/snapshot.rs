//! One stream between the server and a file, by the server's own snapshots: messages with their sequences, consumers with
//! what they have acknowledged.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use async_nats::{Client, RequestErrorKind, jetstream::Context};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use super::{
    ask,
    manifest::{Entry, create, hex},
};
use crate::failure::{Failure, chain};

/// Of a part of a snapshot; a message of the server has at most 1 MiB by default.
const CHUNK: usize = 128 * 1024;
/// How long the server may be silent between two parts.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the server may take to make a stream out of its parts.
const REBUILD: Duration = Duration::from_secs(10 * 60);

#[derive(Deserialize)]
struct Offer {
    config: Value,
    state: Value,
}

/// Saves a stream to `<stream>.snapshot` in the folder.
pub(crate) async fn save(
    nats: &Client,
    jetstream: &Context,
    stream: &str,
    folder: &Path,
) -> Result<Entry, Failure> {
    let file = format!("{stream}.snapshot");
    let path = folder.join(&file);
    let unwritable =
        |error: &std::io::Error| Failure::io(format!("cannot write {}", path.display()), error);
    let mut out = BufWriter::new(create(&path).map_err(|error| unwritable(&error))?);

    let inbox = nats.new_inbox();
    let mut parts = nats
        .subscribe(inbox.clone())
        .await
        .map_err(|error| Failure::unreachable(chain(&error)))?;
    let request = json!({ "deliver_subject": inbox, "chunk_size": CHUNK });
    let what = format!("a snapshot of stream `{stream}`");
    let subject = format!("STREAM.SNAPSHOT.{stream}");
    let offer: Offer = ask(jetstream, subject, &request, &what).await?;

    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let Ok(Some(part)) = timeout(SILENCE, parts.next()).await else {
            return Err(Failure::unreachable(format!("{what} broke off")));
        };
        if let Some(status) = part.status.filter(|status| status.as_u16() >= 300) {
            let why = part.description.as_deref().unwrap_or("no reason given");
            return Err(Failure::answered(format!(
                "{what} broke off: {status} {why}"
            )));
        }
        if part.payload.is_empty() {
            break;
        }
        hash.update(&part.payload);
        bytes += part.payload.len() as u64;
        out.write_all(&part.payload)
            .map_err(|error| unwritable(&error))?;
        // The server sends no more than a window ahead of these.
        if let Some(reply) = part.reply {
            let told = nats.publish(reply, Bytes::new()).await;
            told.map_err(|error| Failure::unreachable(chain(&error)))?;
        }
    }
    let out = out
        .into_inner()
        .map_err(|error| unwritable(error.error()))?;
    out.sync_all().map_err(|error| unwritable(&error))?;
    Ok(Entry {
        stream: stream.to_owned(),
        file,
        bytes,
        sha256: hex(hash),
        messages: offer.state["messages"].as_u64().unwrap_or_default(),
        config: offer.config,
        state: offer.state,
    })
}

#[derive(Deserialize)]
struct Wanted {
    deliver_subject: String,
}

/// Makes a stream out of its snapshot. There must be none of that name.
pub(crate) async fn bring_back(
    nats: &Client,
    jetstream: &Context,
    entry: &Entry,
    replicas: Option<u8>,
    folder: &Path,
) -> Result<(), Failure> {
    let path = entry.path(folder)?;
    let unreadable =
        |error: &std::io::Error| Failure::io(format!("cannot read {}", path.display()), error);
    let mut file = File::open(&path).map_err(|error| unreadable(&error))?;
    let mut config = entry.config.clone();
    if let Some(replicas) = replicas {
        config["num_replicas"] = json!(replicas);
    }
    let what = format!("the restore of stream `{}`", entry.stream);
    let request = json!({ "config": config, "state": entry.state });
    let subject = format!("STREAM.RESTORE.{}", entry.stream);
    let wanted: Wanted = ask(jetstream, subject, &request, &what).await?;

    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file.read(&mut buffer).map_err(|error| unreadable(&error))?;
        let part = Bytes::copy_from_slice(&buffer[..read]);
        let last = part.is_empty();
        let answer = send(nats, &wanted.deliver_subject, part, &what).await?;
        if last || !answer.is_empty() {
            return finished(&answer, &what);
        }
    }
}

/// One part; the empty one at the end is answered when the stream is there.
async fn send(nats: &Client, to: &str, part: Bytes, what: &str) -> Result<Bytes, Failure> {
    let give_up = Instant::now() + SILENCE;
    loop {
        let request = async_nats::Request::new()
            .payload(part.clone())
            .timeout(Some(REBUILD));
        match nats.send_request(to.to_owned(), request).await {
            Ok(answer) => return Ok(answer.payload),
            // In a cluster another server takes the parts, and ours may not have heard of that yet.
            Err(error)
                if error.kind() == RequestErrorKind::NoResponders && Instant::now() < give_up =>
            {
                sleep(PAUSE).await;
            }
            Err(error) => {
                let why = chain(&error);
                return Err(Failure::unreachable(format!("{what} broke off: {why}")));
            }
        }
    }
}

fn finished(answer: &[u8], what: &str) -> Result<(), Failure> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match (&answer["error"], answer["config"].is_object()) {
        (Value::Null, true) => Ok(()),
        (Value::Null, false) => Err(Failure::answered(format!("{what} broke off"))),
        (error, _) => {
            let why = error["description"].as_str().unwrap_or("no reason given");
            Err(Failure::answered(format!(
                "the server refused {what}: {why}"
            )))
        }
    }
}
