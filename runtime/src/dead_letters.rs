//! Dead letters for those who deal with them: find, read, redrive, delete.
//!
//! How a message becomes a dead letter stands in `dead_letter`.

mod body;
mod filter;
mod letter;
mod outcome;
mod redrive;

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};

use crate::{
    client::Client,
    denials::Denied,
    persistence::{ReadError, StreamReader, StreamState, delete_message},
};

pub use filter::DeadLetterFilter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use letter::read_letter;
pub use letter::{DeadLetter, OpenedLetter};
pub use redrive::{Edits, RedriveReport, Redriven};

/// The dead letters of one namespace.
///
/// ```no_run
/// # async fn example(client: mcp_runtime::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_runtime::{DeadLetterFilter, DeadLetters, Edits};
///
/// let letters = DeadLetters::new(&client);
/// for letter in letters.list(&DeadLetterFilter::new().reason("GPU_BUSY")).await? {
///     println!("{} {}.{}: {}", letter.sequence, letter.agent, letter.action, letter.reason);
/// }
/// letters.redrive(17, &Edits::new().set("quality", "low")?).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
}

/// Why a dead letter could not be dealt with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no letter with this sequence: it was redriven, deleted, or has expired.
    #[error("there is no dead letter {sequence}")]
    NotFound {
        /// Its stream sequence.
        sequence: u64,
    },
    /// The letter cannot be sent again as asked.
    #[error("dead letter {sequence} cannot be redriven: {reason}")]
    NotRedrivable {
        /// Its stream sequence.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// The command is on its way again, but the letter is still there.
    #[error("dead letter {sequence} was redriven, but could not be removed: {reason}")]
    NotRemoved {
        /// Its stream sequence.
        sequence: u64,
        /// What failed.
        reason: String,
    },
    /// An edit cannot be encoded.
    #[error("parameter `{key}` cannot be set: {reason}")]
    InvalidEdit {
        /// The parameter.
        key: String,
        /// Why.
        reason: String,
    },
    /// This connection may not use a subject that this needs.
    #[error("the server does not let this connection use {subject}")]
    PermissionDenied {
        /// What was asked.
        subject: String,
    },
    /// The server cannot be reached, or refused.
    #[error("cannot {verb} dead letters: {reason}")]
    Server {
        /// What was to be done.
        verb: &'static str,
        /// What failed.
        reason: String,
    },
}

impl DeadLetters {
    /// The dead letters of the client's namespace.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
        }
    }

    /// Lists letters, the oldest first.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn list(
        &self,
        filter: &DeadLetterFilter,
    ) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let listing = async {
            let state = self.state("list").await?;
            self.list_until(filter, state).await
        };
        self.unless_refused(listing).await
    }

    /// Reads one letter with its headers and parameters.
    ///
    /// # Errors
    /// When there is no such letter, or the server does not answer.
    pub async fn show(&self, sequence: u64) -> Result<OpenedLetter, DeadLetterError> {
        self.unless_refused(self.open(sequence)).await
    }

    async fn open(&self, sequence: u64) -> Result<OpenedLetter, DeadLetterError> {
        let state = self.state("read").await?;
        let stream = self.stream("read").await?;
        match stream.raw_message_builder().sequence(sequence).send().await {
            Ok(raw) => Ok(OpenedLetter::open(raw, &state)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                Err(DeadLetterError::NotFound { sequence })
            }
            Err(error) => Err(failed("read", error)),
        }
    }

    /// Deletes one letter for good.
    ///
    /// # Errors
    /// When there is no such letter, or the server refuses.
    pub async fn delete(&self, sequence: u64) -> Result<(), DeadLetterError> {
        let stream = self.stream("delete").await?;
        let deleting = async { Ok(delete_message(&stream, sequence).await) };
        match self.unless_refused(deleting).await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(DeadLetterError::NotFound { sequence }),
            Err(error) => Err(failed("delete", error)),
        }
    }

    /// What the server does not answer, because this connection may not ask it, is an error at once.
    async fn unless_refused<T>(
        &self,
        asking: impl Future<Output = Result<T, DeadLetterError>>,
    ) -> Result<T, DeadLetterError> {
        let denials = self.client.denials();
        denials.unless_a_question_is_refused(asking).await?
    }

    async fn list_until(
        &self,
        filter: &DeadLetterFilter,
        state: StreamState,
    ) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let namespace = self.client.namespace();
        let subject = filter.subject(namespace);
        let mut reader = StreamReader::new(
            &self.client,
            namespace.dead_letters_stream(),
            subject,
            filter.from(),
            state,
        );
        let mut letters = Vec::new();
        while let Some(raw) = reader.next().await.map_err(|error| failed("list", error))? {
            let letter = DeadLetter::read(&raw, &state);
            if filter.matches(&letter) {
                letters.push(letter);
            }
            if letters.len() == filter.page_size() {
                break;
            }
        }
        Ok(letters)
    }

    async fn state(&self, verb: &'static str) -> Result<StreamState, DeadLetterError> {
        let stream = self.client.namespace().dead_letters_stream();
        StreamState::fetch(&self.client, &stream)
            .await
            .map_err(|error: ReadError| failed(verb, error))
    }

    async fn stream(&self, verb: &'static str) -> Result<Stream<()>, DeadLetterError> {
        let name = self.client.namespace().dead_letters_stream();
        self.client
            .jetstream()
            .get_stream_no_info(name)
            .await
            .map_err(|error| failed(verb, error))
    }
}

impl From<Denied> for DeadLetterError {
    fn from(denied: Denied) -> Self {
        Self::PermissionDenied {
            subject: denied.subject,
        }
    }
}

fn failed(verb: &'static str, error: impl std::fmt::Display) -> DeadLetterError {
    DeadLetterError::Server {
        verb,
        reason: error.to_string(),
    }
}
