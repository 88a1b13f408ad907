//! One message by its id. No index leads to it, so the streams are walked; only a delayed command has its id in its
//! subject.

use crate::persistence::{MessageQuery, MessageState, PersistenceError, Reference, StoredMessage};

use super::{JetStreamPersistence, Source, server};

impl JetStreamPersistence {
    /// The copy that still goes on; else how it ended.
    pub(super) async fn find(&self, id: &str) -> Result<Option<StoredMessage>, PersistenceError> {
        let mut failed_outcome = None;
        for source in Source::ALL {
            let found = self.copies(source, id).await?.into_iter().next();
            match found {
                // A command that failed for good says more among the dead letters.
                Some(message) if message.state == MessageState::Done && message.error.is_some() => {
                    failed_outcome = Some(message);
                }
                Some(message) => return Ok(Some(message)),
                None => {}
            }
        }
        Ok(failed_outcome)
    }

    /// Removes every copy but the outcome.
    pub(super) async fn remove(&self, id: &str) -> Result<u64, PersistenceError> {
        let copies = self
            .remove_from(&[Source::Queue, Source::Delayed, Source::DeadLetters], id)
            .await?;
        if copies == 0 && !self.copies(Source::Outcomes, id).await?.is_empty() {
            return Err(PersistenceError::Done { id: id.to_owned() });
        }
        Ok(copies)
    }

    pub(super) async fn remove_from(
        &self,
        sources: &[Source],
        id: &str,
    ) -> Result<u64, PersistenceError> {
        let mut removed = 0;
        for source in sources {
            for copy in self.copies(*source, id).await? {
                removed += u64::from(self.remove_copy(*source, &copy).await?);
            }
        }
        Ok(removed)
    }

    async fn copies(
        &self,
        source: Source,
        id: &str,
    ) -> Result<Vec<StoredMessage>, PersistenceError> {
        let failed = |error| server("read", error);
        let query = MessageQuery::new().id(id);
        let mut listing = self.listing(source, &query, 0).await.map_err(failed)?;
        let mut copies = Vec::new();
        while let Some((_, message)) = listing.next().await.map_err(failed)? {
            if query.matches(&message) {
                copies.push(message);
            }
        }
        Ok(copies)
    }

    /// Returns false when it has gone meanwhile.
    async fn remove_copy(
        &self,
        source: Source,
        copy: &StoredMessage,
    ) -> Result<bool, PersistenceError> {
        let failed = |error: &dyn std::fmt::Display| server("delete", error);
        let stream = self
            .client
            .jetstream()
            .get_stream_no_info(self.stream(source))
            .await;
        let stream = stream.map_err(|error| failed(&error))?;
        match copy.reference {
            Reference::Delayed { .. } => {
                // By subject: the schedule goes with its message.
                let purged = stream
                    .purge()
                    .filter(copy.subject.as_str())
                    .await
                    .map_err(|error| failed(&error))?;
                Ok(purged.purged > 0)
            }
            Reference::Queue { sequence } | Reference::DeadLetter { sequence } => {
                delete_message(&stream, sequence)
                    .await
                    .map_err(|error| failed(&error))
            }
            Reference::Outcome { .. } | Reference::Outbox { .. } => Ok(false),
        }
    }
}

/// Deletes one message of a stream; false when it is not there.
pub(crate) async fn delete_message(
    stream: &async_nats::jetstream::stream::Stream<()>,
    sequence: u64,
) -> Result<bool, async_nats::jetstream::stream::DeleteMessageError> {
    use async_nats::jetstream::stream::DeleteMessageErrorKind;
    match stream.delete_message(sequence).await {
        Ok(deleted) => Ok(deleted),
        Err(error) => match error.kind() {
            DeleteMessageErrorKind::JetStream(refusal) if says_gone(&refusal) => Ok(false),
            _ => Err(error),
        },
    }
}

/// A message missing between others has a code of its own. Before the first and behind the last one the server passes
/// on its store's error under the code for any failure, so that only the text tells.
fn says_gone(refusal: &async_nats::jetstream::Error) -> bool {
    use async_nats::jetstream::ErrorCode;
    match refusal.error_code() {
        ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::NO_MESSAGE_FOUND => true,
        ErrorCode::STREAM_MESSAGE_DELETE_FAILED => refusal.to_string().contains("no message found"),
        _ => false,
    }
}
