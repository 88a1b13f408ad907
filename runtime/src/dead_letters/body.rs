//! The body of a redriven command: the original, or with another attempt, parameters and key.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::{
    client::Client,
    message::{Format, Raw},
    payload,
    persistence::header,
};

use super::{Edits, OpenedLetter};

/// A body as it is to be sent.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// False: the letter's own body and claim check are sent as they are.
    pub(super) changed: bool,
    /// The key that it takes effect under once.
    pub(super) idempotency_key: Option<String>,
}

impl Body {
    /// Takes the body from the letter or the object store, and edits it.
    pub(super) async fn prepare(
        client: &Client,
        opened: &OpenedLetter,
        edits: &Edits,
    ) -> Result<Self, String> {
        let bytes = fetch(client, opened).await?;
        let format = Format::from_content_type(header(&opened.headers, "Content-Type"))
            .map_err(|e| e.to_string());
        let fields = format.and_then(|format| {
            let fields: BTreeMap<String, Raw> =
                format.decode(&bytes).map_err(|error| error.to_string())?;
            Ok((format, fields))
        });
        match fields {
            Ok((format, fields)) if text(&fields, "kind").as_deref() == Some("command") => {
                edited(bytes, format, fields, edits, opened)
            }
            Ok(_) if !edits.is_empty() => Err("only commands have parameters".to_owned()),
            Err(reason) if !edits.is_empty() => Err(format!("its body cannot be edited: {reason}")),
            // Whatever it is, it is sent as it came: its receiver judges it again.
            _ => Ok(Self {
                bytes,
                changed: false,
                idempotency_key: None,
            }),
        }
    }

    /// Puts the body into the object store when it is too large for a message, and says so in the headers.
    pub(super) async fn check_in(
        &mut self,
        client: &Client,
        object: &str,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = payload::check_in(client, object, bytes, headers)
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn edited(
    bytes: Bytes,
    format: Format,
    mut fields: BTreeMap<String, Raw>,
    edits: &Edits,
    opened: &OpenedLetter,
) -> Result<Body, String> {
    let mut changed = false;
    let attempt = fields
        .get("attempt")
        .and_then(|attempt| attempt.decode::<u32>().ok());
    if attempt.is_some_and(|attempt| attempt != 1) {
        fields.insert("attempt".to_owned(), raw(&1)?);
        changed = true;
    }
    let mut key = text(&fields, "idempotency_key");
    if !edits.is_empty() {
        let parameters = edits.apply(fields.get("parameters"))?;
        fields.insert("parameters".to_owned(), raw(&parameters)?);
        if key.is_some() {
            // The same for each try to redrive this letter, so that two of them take effect once.
            let new_key = format!("{}.r{}", opened.letter.id, opened.letter.sequence);
            fields.insert("idempotency_key".to_owned(), raw(&new_key)?);
            key = Some(new_key);
        }
        changed = true;
    }
    let bytes = match changed {
        true => format.encode(&fields).map_err(|error| error.to_string())?,
        false => bytes,
    };
    Ok(Body {
        bytes,
        changed,
        idempotency_key: key,
    })
}

fn raw(value: &impl serde::Serialize) -> Result<Raw, String> {
    Raw::encode(value).map_err(|error| error.to_string())
}

fn text(fields: &BTreeMap<String, Raw>, name: &str) -> Option<String> {
    fields.get(name)?.decode::<Option<String>>().ok()?
}

async fn fetch(client: &Client, opened: &OpenedLetter) -> Result<Bytes, String> {
    let claimed = payload::check_out(client, Some(&opened.headers), &opened.body).await;
    let claimed = claimed.map_err(|error| error.to_string())?;
    Ok(claimed.unwrap_or_else(|| opened.body.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::dead_letters::DeadLetter;

    fn opened(body: &Value) -> OpenedLetter {
        let letter = DeadLetter {
            sequence: 7,
            id: "an-id".to_owned(),
            agent: "probe".to_owned(),
            action: "echo".to_owned(),
            reason: String::new(),
            attempts: 3,
            errors: Vec::new(),
            original_subject: "mcp.cmd.probe.normal.echo".to_owned(),
            age: Duration::ZERO,
            stored_at_ms: 0,
            size: 0,
            redriven_from: None,
        };
        let body = Format::Msgpack.encode(body).unwrap();
        OpenedLetter {
            letter,
            headers: HeaderMap::new(),
            body,
        }
    }

    fn check(body: &Value, edits: &Edits) -> (Value, Option<String>) {
        let opened = opened(body);
        let fields = Format::Msgpack.decode(&opened.body).unwrap();
        let body = edited(opened.body.clone(), Format::Msgpack, fields, edits, &opened).unwrap();
        (
            Format::Msgpack.decode(&body.bytes).unwrap(),
            body.idempotency_key,
        )
    }

    #[test]
    fn attempts_begin_anew_and_unknown_fields_stay() {
        let body =
            json!({"kind": "command", "attempt": 3, "future": [1, 2], "idempotency_key": "k"});
        let (sent, key) = check(&body, &Edits::new());
        assert_eq!(
            sent,
            json!({"kind": "command", "attempt": 1, "future": [1, 2], "idempotency_key": "k"})
        );
        assert_eq!(key.as_deref(), Some("k"));
    }

    #[test]
    fn edited_parameters_get_a_new_key() {
        let edits = Edits::new().set("quality", "low").unwrap();
        let body = json!({"kind": "command", "parameters": {"quality": "high", "n": 1}, "idempotency_key": "k"});
        let (sent, key) = check(&body, &edits);
        assert_eq!(sent["parameters"], json!({"quality": "low", "n": 1}));
        assert_eq!(sent["idempotency_key"], "an-id.r7");
        assert_eq!(key.as_deref(), Some("an-id.r7"));
        let (sent, key) = check(&json!({"kind": "command"}), &edits);
        assert_eq!(
            (&sent["parameters"], sent.get("idempotency_key"), key),
            (&json!({"quality": "low"}), None, None)
        );
    }
}
