//! Sending a dead letter again: the outcome out of the way, the command stored, and only then the letter removed.

use std::{collections::BTreeMap, time::Duration};

use async_nats::HeaderMap;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    message::{CommandSubject, Name, Raw},
    outcome::record_key,
    persistence::header,
    store::{self, Outgoing, StoreError},
};

use super::{
    DeadLetterError, DeadLetterFilter, DeadLetters, OpenedLetter, body::Body, failed, outcome,
};

/// How long one write is tried; well inside the streams' deduplication window.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// The autopsy, and what belongs to one publish only. The age goes too: a redriven command begins anew, else its time
/// to live would be over for ever.
const DROPPED: [&str; 7] = [
    "Mcp-Dead-Reason",
    "Mcp-Dead-At",
    "Mcp-Attempts",
    "Mcp-Errors",
    "Mcp-Original-Subject",
    "Mcp-Redriven-From",
    "Mcp-Age-Ms",
];

/// New values for parameters of a redriven command.
#[derive(Debug, Clone, Default)]
pub struct Edits(BTreeMap<String, Raw>);

/// A letter that is on its way again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redriven {
    /// The letter's stream sequence.
    pub sequence: u64,
    /// The command's id, as before.
    pub id: String,
    /// Where it was published.
    pub subject: String,
    /// Its stream sequence there.
    pub stored_as: u64,
    /// Somebody had redriven the same letter just before; it is on its way once.
    pub duplicate: bool,
}

/// What came of redriving many.
#[derive(Debug, Default)]
pub struct RedriveReport {
    /// Letters on their way again.
    pub redriven: Vec<Redriven>,
    /// Letters that stay, with the reason.
    pub failed: Vec<(u64, DeadLetterError)>,
}

impl Edits {
    /// No edits: the command is sent as it was.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one parameter by its name at the top of the parameters.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub fn set(
        mut self,
        key: impl Into<String>,
        value: impl Serialize,
    ) -> Result<Self, DeadLetterError> {
        let key = key.into();
        match Raw::encode(&value) {
            Ok(value) => {
                self.0.insert(key, value);
                Ok(self)
            }
            Err(error) => Err(DeadLetterError::InvalidEdit {
                key,
                reason: error.to_string(),
            }),
        }
    }

    /// Whether the command is sent as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn apply(&self, parameters: Option<&Raw>) -> Result<BTreeMap<String, Raw>, String> {
        let mut edited: BTreeMap<String, Raw> = match parameters {
            Some(parameters) if *parameters != Raw::null() => parameters
                .decode()
                .map_err(|_| "its parameters are no map with names to set".to_owned())?,
            _ => BTreeMap::new(),
        };
        edited.extend(self.0.clone());
        Ok(edited)
    }
}

impl DeadLetters {
    /// Sends a letter's message again, to its original subject, as its first attempt.
    ///
    /// Safe to repeat after a failure anywhere: the publish carries the same message id, which the stream recognises
    /// within its deduplication window (2 min), and a command with an idempotency key takes effect once at any time.
    ///
    /// # Errors
    /// When there is no such letter, it cannot be sent or edited as asked, or the server does not store it: then the
    /// letter is still there. After [`DeadLetterError::NotRemoved`] the command is on its way as well.
    pub async fn redrive(&self, sequence: u64, edits: &Edits) -> Result<Redriven, DeadLetterError> {
        let opened = self.show(sequence).await?;
        let refused = |reason: String| DeadLetterError::NotRedrivable { sequence, reason };
        self.check_subject(&opened).map_err(refused)?;
        let mut body = Body::prepare(&self.client, &opened, edits)
            .await
            .map_err(refused)?;
        let mut headers = restored(&opened, &body);
        if body.changed {
            let object = format!("{}.r{sequence}", opened.letter.id);
            body.check_in(&self.client, &object, &mut headers)
                .await
                .map_err(|error| failed("store the body of", error))?;
        }
        if let Some(key) = outcome_key(&opened, &body) {
            let removing = outcome::remove_error(&self.client, &key, &opened.letter.id);
            self.unless_refused(removing).await?;
        }
        let outgoing = Outgoing {
            subject: opened.letter.original_subject.clone(),
            headers,
            body: if body.changed {
                body.bytes
            } else {
                opened.body.clone()
            },
        };
        let stored = store::store(&self.client, &outgoing, Instant::now() + STORE_TIMEOUT).await;
        let stored = stored.map_err(|error| match error {
            StoreError::Denied { subject } => DeadLetterError::PermissionDenied { subject },
            error => failed("redrive", error),
        })?;
        match self.delete(sequence).await {
            // Gone: another redrive of the same letter was faster, and its publish was the same message.
            Ok(()) | Err(DeadLetterError::NotFound { .. }) => {}
            Err(error) => {
                return Err(DeadLetterError::NotRemoved {
                    sequence,
                    reason: error.to_string(),
                });
            }
        }
        tracing::info!(
            sequence,
            subject = outgoing.subject,
            "a dead letter was redriven"
        );
        Ok(Redriven {
            sequence,
            id: opened.letter.id,
            subject: outgoing.subject,
            stored_as: stored.sequence,
            duplicate: stored.duplicate,
        })
    }

    /// Redrives every letter that matches: all of them, or as many as the filter's limit says. What dies again
    /// meanwhile is left for the next time.
    ///
    /// # Errors
    /// When the letters cannot be listed; what goes wrong with single letters is in the report.
    pub async fn redrive_matching(
        &self,
        filter: &DeadLetterFilter,
        edits: &Edits,
    ) -> Result<RedriveReport, DeadLetterError> {
        let state = self.unless_refused(self.state("redrive")).await?;
        let mut report = RedriveReport::default();
        let mut page = filter.clone();
        loop {
            let left = filter
                .total()
                .map(|total| total - report.redriven.len() - report.failed.len());
            if left == Some(0) {
                return Ok(report);
            }
            page = page.limit(left.unwrap_or(usize::MAX));
            let letters = self.list_until(&page, state).await?;
            let Some(last) = letters.last() else {
                return Ok(report);
            };
            page = page.after(last.sequence);
            for letter in &letters {
                match self.redrive(letter.sequence, edits).await {
                    Ok(redriven) => report.redriven.push(redriven),
                    // Somebody else was faster.
                    Err(DeadLetterError::NotFound { .. }) => {}
                    Err(error) => report.failed.push((letter.sequence, error)),
                }
            }
        }
    }

    /// A letter may say anything: it is sent only where this namespace keeps work.
    fn check_subject(&self, opened: &OpenedLetter) -> Result<(), String> {
        let subject = &opened.letter.original_subject;
        let namespace = self.client.namespace();
        let ours = ["cmd", "evt", "wf"]
            .iter()
            .any(|kind| subject.starts_with(&format!("{namespace}.{kind}.")));
        let concrete = subject.split('.').all(|token| {
            !token.is_empty()
                && token != "*"
                && token != ">"
                && token.bytes().all(|byte| byte.is_ascii_graphic())
        });
        match ours && concrete {
            true => Ok(()),
            false => Err(format!(
                "its original subject `{subject}` is none that work is sent to"
            )),
        }
    }
}

/// The headers of the message that died, with the id of this redrive and the link to the letter.
fn restored(opened: &OpenedLetter, body: &Body) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in opened.headers.iter() {
        let text: &str = name.as_ref();
        let stale_claim = body.changed && starts_with(text, "Mcp-Payload");
        let dropped = DROPPED
            .iter()
            .any(|dropped| dropped.eq_ignore_ascii_case(text));
        if dropped
            || stale_claim
            || starts_with(text, "Nats-")
            || starts_with(text, "Mcp-Original-")
        {
            continue;
        }
        for value in values {
            headers.append(text, value.clone());
        }
    }
    // What could not be decoded has no id: the letter's own is as unique.
    let id = match opened.letter.id.as_str() {
        "" => header(&opened.headers, "Nats-Msg-Id").unwrap_or("dead"),
        id => id,
    };
    headers.insert("Nats-Msg-Id", format!("{id}.r{}", opened.letter.sequence));
    headers.insert("Mcp-Redriven-From", opened.letter.sequence.to_string());
    headers
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Where the outcome of the command lies, if there is one.
fn outcome_key(opened: &OpenedLetter, body: &Body) -> Option<String> {
    let subject = CommandSubject::parse(&opened.letter.original_subject)?;
    let (agent, action) = (
        Name::new(subject.agent).ok()?,
        Name::new(subject.action).ok()?,
    );
    let text = body.idempotency_key.as_deref().unwrap_or(&opened.letter.id);
    Some(record_key(&agent, &action, text))
}
