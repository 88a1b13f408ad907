//! Reading a stream in order without consuming it.
//!
//! A consumer would take messages from a work queue, or be refused by it; a get by sequence and subject reads them
//! where they lie. Streams that allow direct gets are read in batches, the others by pipelined gets from the leader.

use std::{collections::VecDeque, time::Duration};

use async_nats::{
    Message,
    client::Request,
    jetstream::{
        self, ErrorCode, message::StreamMessage, response::Response, stream::RawMessageErrorKind,
    },
};
use futures_util::{StreamExt, future};
use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::client::Client;

/// Messages asked for by one direct get.
const DIRECT_BATCH: u64 = 256;

/// Gets under way at once where there are no direct gets. Each asks for one message.
const WIDEST: u64 = 64;

/// How long a batch may be silent before it is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// A stream could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ReadError {
    pub(crate) reason: String,
}

impl ReadError {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

/// What a stream says about itself, and the server's time when it said so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamState {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) messages: u64,
    pub(crate) now_ms: i64,
    direct: bool,
}

impl StreamState {
    /// Of no stream in particular.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn none() -> Self {
        Self {
            first_sequence: 0,
            last_sequence: 0,
            messages: 0,
            now_ms: 0,
            direct: false,
        }
    }

    /// Asks for the state of a stream.
    pub(crate) async fn fetch(client: &Client, stream: &str) -> Result<Self, ReadError> {
        #[derive(Deserialize)]
        struct Info {
            config: Config,
            state: State,
            ts: String,
        }
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            allow_direct: bool,
        }
        #[derive(Deserialize)]
        struct State {
            first_seq: u64,
            last_seq: u64,
            messages: u64,
        }
        let info: Info = ask(client, format!("STREAM.INFO.{stream}"), &json!({}))
            .await?
            .map_err(ReadError::new)?;
        let now = OffsetDateTime::parse(&info.ts, &Rfc3339).map_err(ReadError::new)?;
        Ok(Self {
            first_sequence: info.state.first_seq,
            last_sequence: info.state.last_seq,
            messages: info.state.messages,
            now_ms: unix_ms(now),
            direct: info.config.allow_direct,
        })
    }

    /// How long before the state was fetched the server stored a message.
    pub(crate) fn age(&self, stored_at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.now_ms - stored_at_ms).unwrap_or_default())
    }
}

/// Sends a request to the JetStream API; the inner result is the server's own.
pub(crate) async fn ask<T: serde::de::DeserializeOwned>(
    client: &Client,
    subject: String,
    request: &serde_json::Value,
) -> Result<Result<T, jetstream::Error>, ReadError> {
    let response: Response<T> = client
        .jetstream()
        .request(subject, request)
        .await
        .map_err(ReadError::new)?;
    Ok(match response {
        Response::Ok(value) => Ok(value),
        Response::Err { error } => Err(error),
    })
}

pub(crate) fn unix_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// Walks over the messages of a subject filter, up to what the stream held at the beginning.
pub(crate) struct StreamReader<'a> {
    client: &'a Client,
    stream: String,
    filter: String,
    next: u64,
    state: StreamState,
    /// Where there are direct gets: begin with what was stored at or after this time.
    since: Option<String>,
    width: u64,
    read: VecDeque<StreamMessage>,
}

impl<'a> StreamReader<'a> {
    /// Begins at the sequence `from`.
    pub(crate) fn new(
        client: &'a Client,
        stream: String,
        filter: String,
        from: u64,
        state: StreamState,
    ) -> Self {
        let next = from.max(state.first_sequence);
        Self {
            client,
            stream,
            filter,
            next,
            state,
            since: None,
            width: 1,
            read: VecDeque::new(),
        }
    }

    /// Leaves out what was stored longer ago. A stream without direct gets is read from its beginning all the same.
    pub(crate) fn younger_than(mut self, age: Duration) -> Self {
        let since_ms =
            self.state.now_ms - i64::try_from(age.as_millis()).unwrap_or(self.state.now_ms);
        let since = OffsetDateTime::from_unix_timestamp_nanos(i128::from(since_ms) * 1_000_000);
        self.since = since.ok().and_then(|since| since.format(&Rfc3339).ok());
        self
    }

    /// The next message, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamMessage>, ReadError> {
        if self.read.is_empty() && self.next <= self.state.last_sequence {
            let read = match self.state.direct {
                true => self.direct_batch().await?,
                false => self.pipelined_gets().await?,
            };
            self.next = read
                .last()
                .map_or(u64::MAX, |last| last.sequence.saturating_add(1));
            self.read = read
                .into_iter()
                .filter(|message| message.sequence <= self.state.last_sequence)
                .collect();
        }
        Ok(self.read.pop_front())
    }

    /// Asks for the messages at or after each of a row of sequences. Where the row is dense each get finds another
    /// message and the next row is longer; over gaps many gets find the same one and the next row is shorter.
    async fn pipelined_gets(&mut self) -> Result<Vec<StreamMessage>, ReadError> {
        let stream = self
            .client
            .jetstream()
            .get_stream_no_info(&self.stream)
            .await
            .map_err(ReadError::new)?;
        let last = self
            .next
            .saturating_add(self.width - 1)
            .min(self.state.last_sequence);
        let asked = last - self.next + 1;
        let gets = (self.next..=last).map(|sequence| {
            let get = stream
                .raw_message_builder()
                .sequence(sequence)
                .next_by_subject(self.filter.as_str())
                .send();
            async {
                match get.await {
                    Ok(message) => Ok(Some(message)),
                    Err(error) if is_end(&error.kind()) => Ok(None),
                    Err(error) => Err(ReadError::new(error)),
                }
            }
        });
        let found = future::try_join_all(gets).await?;
        let mut found: Vec<StreamMessage> = found.into_iter().flatten().collect();
        found.sort_by_key(|message| message.sequence);
        found.dedup_by_key(|message| message.sequence);
        self.width = match found.len() as u64 {
            all if all >= asked => (self.width * 2).min(WIDEST),
            some => some.max(1),
        };
        Ok(found)
    }

    async fn direct_batch(&mut self) -> Result<Vec<StreamMessage>, ReadError> {
        let nats = self.client.nats();
        let inbox = nats.new_inbox();
        let mut answers = nats
            .subscribe(inbox.clone())
            .await
            .map_err(ReadError::new)?;
        let mut request = json!({ "batch": DIRECT_BATCH, "next_by_subj": self.filter });
        match self.since.take() {
            Some(since) => request["start_time"] = since.into(),
            None => request["seq"] = self.next.into(),
        }
        let request = Request::new()
            .payload(request.to_string().into())
            .inbox(inbox);
        let subject = format!("DIRECT.GET.{}", self.stream);
        self.client
            .jetstream()
            .send_request(subject, request)
            .await
            .map_err(ReadError::new)?;
        let mut found = Vec::new();
        loop {
            let answer = tokio::time::timeout(SILENCE, answers.next())
                .await
                .map_err(|_| silent())?;
            match read_answer(answer.ok_or_else(silent)?)? {
                Some(message) => found.push(message),
                None => return Ok(found),
            }
        }
    }
}

/// One answer to a batched get; `None` is its end.
fn read_answer(answer: Message) -> Result<Option<StreamMessage>, ReadError> {
    match answer.status.map(|status| status.as_u16()) {
        // The end of a batch, and a batch without messages.
        Some(204 | 404) => Ok(None),
        Some(status) => Err(ReadError::new(format!(
            "the server answered with status {status}"
        ))),
        None => StreamMessage::try_from(answer)
            .map(Some)
            .map_err(ReadError::new),
    }
}

fn is_end(error: &RawMessageErrorKind) -> bool {
    match error {
        RawMessageErrorKind::NoMessageFound => true,
        RawMessageErrorKind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        _ => false,
    }
}

fn silent() -> ReadError {
    ReadError::new("no answer from the server in time")
}
