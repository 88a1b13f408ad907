//! Which command a stored message is, from its headers or its body.

use async_nats::HeaderMap;
use serde::Deserialize;

use crate::message::{Format, Raw, is_message_id};

/// Reads a `Nats-Msg-Id`: `<id>.<attempt>`, or the id with whatever makes a copy of its own, such as `<id>.r7`.
pub(crate) fn split(message_id: &str) -> Option<(&str, Option<u32>)> {
    let id = message_id
        .split('.')
        .next()
        .filter(|id| is_message_id(id))?;
    let attempt = message_id[id.len()..]
        .strip_prefix('.')
        .and_then(|attempt| attempt.parse().ok());
    Some((id, attempt))
}

/// The id and attempt: from the header `name`, or from the body where the server has fired a schedule and kept no
/// message id. The id is empty where nothing says it.
pub(crate) fn identify(headers: &HeaderMap, name: &str, body: &[u8]) -> (String, u32) {
    if let Some((id, attempt)) = header(headers, name).and_then(split) {
        return (id.to_owned(), attempt.unwrap_or(1));
    }
    let format = Format::from_content_type(header(headers, "Content-Type")).unwrap_or_default();
    let loose: Loose = format.decode_prefix(body).unwrap_or_default();
    let id = loose.id.and_then(|id| id.decode().ok());
    let attempt = loose.attempt.and_then(|attempt| attempt.decode().ok());
    (id.unwrap_or_default(), attempt.unwrap_or(1))
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(async_nats::HeaderValue::as_str)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Loose {
    id: Option<Raw>,
    attempt: Option<Raw>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0192f0c1-2b3c-7000-8000-000000000001";

    #[test]
    fn message_ids_are_read_with_their_attempt() {
        let rows = [
            (format!("{ID}.3"), Some((ID, Some(3)))),
            (format!("{ID}.r17"), Some((ID, None))),
            (format!("{ID}.12.later2"), Some((ID, None))),
            (ID.to_owned(), Some((ID, None))),
            ("dead.mcp_commands.4".to_owned(), None),
            (String::new(), None),
        ];
        for (text, expected) in rows {
            assert_eq!(split(&text), expected, "{text}");
        }
    }

    #[test]
    fn body_tells_where_the_header_is_missing() {
        let body = Format::Json
            .encode(&serde_json::json!({"id": ID, "attempt": 4, "parameters": [1]}))
            .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        assert_eq!(identify(&headers, "Nats-Msg-Id", &body), (ID.to_owned(), 4));
        headers.insert("Nats-Msg-Id", format!("{ID}.2"));
        assert_eq!(identify(&headers, "Nats-Msg-Id", &body), (ID.to_owned(), 2));
        assert_eq!(
            identify(&HeaderMap::new(), "Nats-Msg-Id", b"nonsense"),
            (String::new(), 1)
        );
    }
}
