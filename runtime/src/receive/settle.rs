//! What becomes of a command after its handler: the answer first, the acknowledgement last.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::{
    dead_letter::{Autopsy, DeadLetter},
    failpoint::failpoint,
    history::{Direction, Note, PastKind},
    message::{Answerer, Command, Format, McpError, Reply, Status, code},
    payload,
    telemetry::Ending,
};

use super::{
    Shared,
    again::Again,
    inbound::Inbound,
    verdict::{Final, Verdict},
};

impl Shared {
    /// Answers where an answer is wanted, keeps among the dead letters what nobody hears of, and then
    /// settles the message.
    pub(super) async fn settle(&self, inbound: Inbound, command: &Command, verdict: Verdict) {
        // A zombie is silent altogether: its answer could contradict the new owner's.
        if inbound.lease.as_ref().is_some_and(|lease| !lease.is_held()) {
            tracing::warn!(action = %command.action, "the lease of a command has passed, leaving it to its new owner");
            return;
        }
        match verdict {
            Verdict::Abandon => self.apologise(inbound, command).await,
            Verdict::Retry {
                after,
                elsewhere,
                failures,
            } => {
                inbound.processing.ends(Ending::Retry);
                self.give_back(
                    inbound,
                    command,
                    Again {
                        after,
                        elsewhere,
                        failures,
                    },
                )
                .await;
            }
            Verdict::Later(after) => {
                inbound.processing.ends(Ending::Retry);
                // Not a NAK: deliveries without an end count as deaths.
                let again = Again {
                    after,
                    elsewhere: false,
                    failures: 0,
                };
                self.send_later(inbound, command, again).await;
            }
            Verdict::Final(end) => self.finish(inbound, command, *end).await,
        }
    }

    /// A stored command is left to others in silence; for a realtime one there are no others.
    async fn apologise(&self, inbound: Inbound, command: &Command) {
        let (None, Some(reply_to)) = (&inbound.lease, &command.reply_to) else {
            return;
        };
        let error = McpError::temporary(code::DRAINING)
            .message("this instance had to let go of the command");
        let answerer = inbound.answerer(self, &command.id, command.attempt);
        self.answer(reply_to, inbound.format, answerer.response(Err(error)))
            .await;
    }

    async fn finish(&self, inbound: Inbound, command: &Command, end: Final) {
        self.note(&inbound, command, &end.frame);
        match &end.frame.error {
            None => inbound.processing.ends(Ending::Ok),
            Some(error) => inbound.processing.fails(Ending::Error, &error.code),
        }
        let autopsy = end.autopsy(command).filter(|_| inbound.lease.is_some());
        if let Some(autopsy) = autopsy {
            let letter = DeadLetter::of(&inbound.message, &inbound.info, &autopsy)
                .counted_as(inbound.processing.other_word());
            if let Err(error) = letter.store(&self.client).await {
                // Left unsettled: it comes back, and nothing is lost.
                tracing::error!(%error, "a dead letter could not be stored, the command stays queued");
                return;
            }
            failpoint("receive.buried");
        }
        failpoint("receive.before_reply");
        // Storing the letter may have taken longer than the lease.
        if inbound.lease.as_ref().is_some_and(|lease| !lease.is_held()) {
            return;
        }
        if let Some(reply_to) = &command.reply_to {
            self.answer(reply_to, inbound.format, end.frame).await;
        }
        failpoint("receive.replied");
        if let Some(lease) = inbound.lease {
            lease.acknowledge().await;
            failpoint("receive.acknowledged");
        }
    }

    fn note(&self, inbound: &Inbound, command: &Command, frame: &Reply) {
        self.client.note(Note {
            direction: Direction::Received,
            kind: match command.retry {
                Some(_) => PastKind::Submit,
                None => PastKind::Command,
            },
            peer: &command.source,
            name: &command.action,
            id: &command.id,
            attempt: u32::try_from(inbound.info.deliveries).unwrap_or(u32::MAX),
            error: frame.error.as_ref().map(|error| error.code.clone()),
            took: Duration::from_secs_f64(
                frame.processing_ms.unwrap_or_default().max(0.0) / 1000.0,
            ),
        });
    }

    /// A message that is no command: stored byte for byte, answered if it still says whom, and ended.
    pub(super) async fn reject(
        &self,
        inbound: Inbound,
        answerer: &Answerer,
        reply_to: Option<String>,
        error: McpError,
    ) {
        inbound.processing.fails(Ending::Rejected, &error.code);
        // The code and the place only: the text may quote the body.
        let field = error
            .details
            .get("field")
            .and_then(serde_json::Value::as_str);
        tracing::warn!(subject = %inbound.message.subject, code = error.code, field, "a message cannot be decoded");
        if let Some(reply_to) = reply_to {
            self.answer(
                &reply_to,
                inbound.format,
                answerer.response(Err(error.clone())),
            )
            .await;
        }
        let Some(lease) = inbound.lease else { return };
        let autopsy = Autopsy {
            reason: error.code.clone(),
            attempts: 1,
            errors: vec![error],
        };
        match DeadLetter::of(&inbound.message, &inbound.info, &autopsy)
            .counted_as(inbound.processing.other_word())
            .store(&self.client)
            .await
        {
            Ok(()) => {
                failpoint("receive.rejected");
                lease.terminate().await;
            }
            Err(error) => {
                tracing::error!(%error, "a dead letter could not be stored, the message stays queued")
            }
        }
    }

    /// Publishes a reply frame in the format of its command.
    pub(super) async fn answer(&self, reply_to: &str, format: Format, frame: Reply) {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", format.content_type());
        let body = match self.reply_body(format, &frame, &mut headers).await {
            Ok(body) => body,
            Err(error) => {
                let refusal = instead(frame, error);
                // An error is small and has nothing that JSON could not hold.
                let Ok(body) = format.encode(&refusal) else {
                    return;
                };
                body
            }
        };
        if let Err(error) = self
            .client
            .nats()
            .publish_with_headers(reply_to.to_owned(), headers, body)
            .await
        {
            tracing::warn!(%error, "a reply could not be sent");
        }
    }

    async fn reply_body(
        &self,
        format: Format,
        frame: &Reply,
        headers: &mut HeaderMap,
    ) -> Result<Bytes, McpError> {
        // JSON cannot hold everything that msgpack can: such a result is answered as an error, not dropped.
        let body = format
            .encode(frame)
            .map_err(|error| McpError::permanent(code::INTERNAL).message(error.to_string()))?;
        payload::check_in(&self.client, &frame.id, body, headers)
            .await
            .map_err(|error| error.to_mcp_error())
    }
}

fn instead(frame: Reply, error: McpError) -> Reply {
    Reply {
        status: Some(Status::Error),
        result: None,
        error: Some(error),
        ..frame
    }
}
