//! What becomes of a command after its handler: the answer first, the acknowledgement last.

use async_nats::HeaderMap;

use crate::{
    dead_letter::{Autopsy, DeadLetter},
    message::{Answerer, Command, Format, McpError, Reply, code},
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
            Verdict::Abandon => {}
            Verdict::Retry { after, elsewhere, failures } => {
                self.give_back(inbound, command, Again { after, elsewhere, failures }).await;
            }
            Verdict::Final(end) => self.finish(inbound, command, *end).await,
        }
    }

    async fn finish(&self, inbound: Inbound, command: &Command, end: Final) {
        let autopsy = end.autopsy(command).filter(|_| inbound.lease.is_some());
        if let Some(autopsy) = autopsy {
            let letter = DeadLetter::of(&inbound.message, &inbound.info, autopsy);
            if let Err(error) = letter.store(&self.client).await {
                // Left unsettled: it comes back, and nothing is lost.
                tracing::error!(%error, "a dead letter could not be stored, the command stays queued");
                return;
            }
        }
        if let Some(reply_to) = &command.reply_to {
            self.answer(reply_to, inbound.format, end.frame).await;
        }
        if let Some(lease) = inbound.lease {
            lease.acknowledge().await;
        }
    }

    /// A message that is no command: stored byte for byte, answered if it still says whom, and ended.
    pub(super) async fn reject(&self, inbound: Inbound, answerer: &Answerer, reply_to: Option<String>, error: McpError) {
        tracing::warn!(subject = %inbound.message.subject, %error, "a message cannot be decoded");
        if let Some(reply_to) = reply_to {
            self.answer(&reply_to, inbound.format, answerer.response(Err(error.clone()))).await;
        }
        let Some(lease) = inbound.lease else { return };
        let autopsy = Autopsy { reason: code::INVALID_MESSAGE.to_owned(), attempts: 1, errors: vec![error] };
        match DeadLetter::of(&inbound.message, &inbound.info, autopsy).store(&self.client).await {
            Ok(()) => lease.terminate().await,
            Err(error) => tracing::error!(%error, "a dead letter could not be stored, the message stays queued"),
        }
    }

    /// Publishes a reply frame in the format of its command.
    pub(super) async fn answer(&self, reply_to: &str, format: Format, frame: Reply) {
        let limit = self.client.nats().max_payload().saturating_sub(1024);
        let (format, body) = match encode(format, &frame) {
            Ok((format, body)) if body.len() <= limit => (format, body),
            Ok((format, body)) => {
                let error = McpError::permanent(code::PAYLOAD_TOO_LARGE)
                    .message(format!("the result of {} bytes is over the limit of {limit} bytes", body.len()));
                let Ok(refusal) = encode(format, &instead(frame, error)) else { return };
                refusal
            }
            Err(error) => {
                let error = McpError::permanent(code::INTERNAL).message(error.to_string());
                let Ok(refusal) = encode(format, &instead(frame, error)) else { return };
                refusal
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", format.content_type());
        if let Err(error) = self.client.nats().publish_with_headers(reply_to.to_owned(), headers, body).await {
            tracing::warn!(%error, "a reply could not be sent");
        }
    }
}

/// JSON cannot hold everything that msgpack can: such a result is answered as an error, not dropped.
fn encode(format: Format, frame: &Reply) -> Result<(Format, bytes::Bytes), crate::message::EncodeError> {
    format.encode(frame).map(|body| (format, body))
}

fn instead(frame: Reply, error: McpError) -> Reply {
    Reply { status: Some(crate::message::Status::Error), result: None, error: Some(error), ..frame }
}
