//! An object as the store keeps it: chunks under one subject, a description under another.
//!
//! `$O.<bucket>.C.<nuid>` has the chunks in their order, `$O.<bucket>.M.<name in URL-safe base64>` the
//! description, which is written last: an object without it does not exist.

use async_nats::jetstream::{self, stream::LastRawMessageErrorKind};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};

use super::{
    STALL,
    claim::{Claim, Sum},
    error::PayloadError,
};
use crate::{
    client::Client,
    denials::{Denials, Denied},
};

/// The object store of one namespace.
pub(super) struct Bucket {
    pub(super) jetstream: jetstream::Context,
    pub(super) name: String,
    denials: Denials,
    connected: watch::Receiver<u64>,
}

/// The description of an object.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) bucket: String,
    /// Names the subject of the chunks.
    pub(super) nuid: String,
    pub(super) size: u64,
    pub(super) chunks: u64,
    pub(super) digest: Option<String>,
    /// Text, because not every client leaves a time here.
    #[serde(rename = "mtime")]
    pub(super) modified: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    pub(super) options: Option<Options>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<serde_json::Value>,
    pub(super) max_chunk_size: Option<u64>,
}

/// A stored description, and where in the stream it is.
pub(super) struct Described {
    pub(super) object: Description,
    pub(super) sequence: u64,
}

/// Why a step did not get through.
pub(super) enum Failure {
    /// The server is silent or away: worth trying again at once.
    Away(String),
    /// An answer that another try does not change.
    Final(PayloadError),
}

impl Bucket {
    pub(super) fn of(client: &Client) -> Self {
        Self {
            jetstream: client.jetstream().clone(),
            name: format!("{}_payloads", client.namespace()),
            denials: client.denials().clone(),
            connected: client.connections(),
        }
    }

    pub(super) fn stream(&self) -> String {
        format!("OBJ_{}", self.name)
    }

    pub(super) fn chunks(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name)
    }

    pub(super) fn description(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    /// Does a step, and gives it up as soon as the connection is a new one, because what was on its way over the old one is
    /// never answered, or as soon as the server refuses it: neither is that.
    pub(super) async fn on_this_connection<T>(
        &self,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut connected = self.connected.clone();
        connected.mark_unchanged();
        let (prefix, stream) = (format!("$O.{}.", self.name), self.stream());
        let questions = ["STREAM.MSG.GET", "DIRECT.GET"];
        let questions = questions.map(|verb| format!("$JS.API.{verb}.{stream}"));
        let is_ours = |subject: &str| {
            subject.starts_with(&prefix) || questions.iter().any(|question| question == subject)
        };
        let step = self.denials.unless_one_is_refused(is_ours, step);
        tokio::select! {
            biased;
            outcome = step => outcome.map_err(denied)?,
            Ok(()) = connected.changed() => Err(Failure::Away("the connection was lost".to_owned())),
        }
    }

    /// Purges; `None` where that does not succeed.
    pub(super) async fn unless_purging_is_refused<T>(
        &self,
        purging: impl Future<Output = Option<T>>,
    ) -> Option<T> {
        let subject = format!("$JS.API.STREAM.PURGE.{}", self.stream());
        self.denials.unless_refused(&subject, purging).await.ok()?
    }

    /// Asks the stream's leader for an object: another replica may not have it yet.
    pub(super) async fn describe(&self, name: &str) -> Result<Option<Described>, Failure> {
        let asking = async {
            let stream = self
                .jetstream
                .get_stream_no_info(self.stream())
                .await
                .map_err(away)?;
            match stream
                .get_last_raw_message_by_subject(&self.description(name))
                .await
            {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(away(error)),
            }
        };
        let asking = self.on_this_connection(asking);
        let Some(message) = timeout(STALL, asking).await.map_err(|_| silent())?? else {
            return Ok(None);
        };
        match serde_json::from_slice(&message.payload) {
            Ok(object) => Ok(Some(Described {
                object,
                sequence: message.sequence,
            })),
            Err(_) => Err(Failure::Final(PayloadError::Differs {
                name: name.to_owned(),
                reason: "its description cannot be read".to_owned(),
            })),
        }
    }
}

impl Description {
    /// Whether the object says of itself that it is the claimed one.
    pub(super) fn agrees(&self, claim: &Claim) -> Result<(), PayloadError> {
        let differs = |reason: String| PayloadError::Differs {
            name: claim.name.clone(),
            reason,
        };
        if self.deleted {
            return Err(PayloadError::Missing {
                name: claim.name.clone(),
                reason: "it was deleted",
            });
        }
        if self
            .options
            .as_ref()
            .is_some_and(|options| options.link.is_some())
        {
            return Err(differs("it is a link".to_owned()));
        }
        if self.size != claim.size {
            return Err(differs(format!(
                "it has {} bytes instead of {}",
                self.size, claim.size
            )));
        }
        if self
            .digest
            .as_deref()
            .is_some_and(|digest| !says(digest, &claim.sha256))
        {
            return Err(differs("it has another SHA-256".to_owned()));
        }
        // It becomes a token of a subject, where `*` and `>` would bring other objects' chunks.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        match self.nuid.bytes().all(is_token) && (1..=128).contains(&self.nuid.len()) {
            true => Ok(()),
            false => Err(differs("its chunks have no valid subject".to_owned())),
        }
    }
}

/// The digest as descriptions have it.
pub(super) fn digest_text(sum: &Sum) -> String {
    format!("SHA-256={}", URL_SAFE.encode(sum))
}

/// Clients differ in the case of the prefix and in the padding.
fn says(digest: &str, sum: &Sum) -> bool {
    let (ours, theirs) = (digest_text(sum), digest.trim_end_matches('='));
    let prefix = "SHA-256=".len();
    theirs
        .get(..prefix)
        .is_some_and(|found| found.eq_ignore_ascii_case(&ours[..prefix]))
        && theirs[prefix..] == *ours[prefix..].trim_end_matches('=')
}

pub(super) fn away(error: impl std::fmt::Display) -> Failure {
    Failure::Away(error.to_string())
}

fn denied(denied: Denied) -> Failure {
    Failure::Final(PayloadError::Denied {
        subject: denied.subject,
    })
}

pub(super) fn silent() -> Failure {
    Failure::Away("no answer in time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_PYTHON: &str = r#"{"name": "a", "bucket": "b", "nuid": "PYVX2IZo1C1TAUQ7N7UMle", "size": 700000,
        "mtime": "2026-11-22T13:07:44.184392+00:00", "chunks": 6, "deleted": false,
        "digest": "SHA-256=CfFDqIZpa6MRiWVt_8XUzRTv_BWtM9AAZuvl1ws2Sf8=", "options": {"max_chunk_size": 131072}}"#;

    fn claim() -> Claim {
        let sum = URL_SAFE
            .decode("CfFDqIZpa6MRiWVt_8XUzRTv_BWtM9AAZuvl1ws2Sf8=")
            .unwrap();
        Claim {
            name: "a".to_owned(),
            size: 700_000,
            sha256: sum.try_into().unwrap(),
        }
    }

    #[test]
    fn descriptions_of_other_clients_are_read() {
        let check = |json: String| {
            serde_json::from_str::<Description>(&json)
                .unwrap()
                .agrees(&claim())
        };
        assert_eq!(check(FROM_PYTHON.to_owned()), Ok(()));
        assert_eq!(
            check(
                FROM_PYTHON
                    .replace("SHA-256=", "sha-256=")
                    .replace("8=\"", "8\"")
            ),
            Ok(())
        );
        assert_eq!(
            check(FROM_PYTHON.replace(
                "\"options\"",
                "\"description\":null,\"headers\":null,\"options\""
            )),
            Ok(())
        );
        // As a client deletes: the time is empty text.
        let deleted = FROM_PYTHON
            .replace("false", "true")
            .replace("2026-11-22T13:07:44.184392+00:00", "");
        assert!(matches!(check(deleted), Err(PayloadError::Missing { .. })));
    }

    #[test]
    fn a_description_that_contradicts_the_claim_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            let object: Description = serde_json::from_str(&FROM_PYTHON.replace(from, to)).unwrap();
            let error = object.agrees(&claim()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("700000", "700001", "700001 bytes instead of 700000");
        check("CfFD", "AAAA", "another SHA-256");
        check("SHA-256=", "MD5=", "another SHA-256");
        check(
            "\"max_chunk_size\"",
            "\"link\": {\"bucket\": \"c\"}, \"max_chunk_size\"",
            "link",
        );
        for nuid in ["", ">", "*", "a.b", "a b"] {
            check("PYVX2IZo1C1TAUQ7N7UMle", nuid, "no valid subject");
        }
    }
}
