//! Stored bodies as JSON, for people and scripts.

use async_nats::HeaderMap;
use mcp_agent_sdk::{Raw, runtime::Format};
use serde_json::{Map, Value, json};

/// The headers in the order of their names; of several values under one name, all.
pub(crate) fn headers(headers: &HeaderMap) -> Value {
    let mut shown: Vec<(String, Value)> = headers
        .iter()
        .map(|(name, values)| {
            let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
            let value = match values.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            (name.to_string(), value)
        })
        .collect();
    shown.sort_by(|(a, _), (b, _)| a.cmp(b));
    shown.into_iter().collect::<Map<_, _>>().into()
}

/// Headers as [`headers`] gives them, each as a line `name: value`.
pub(crate) fn lines(headers: &Value) -> Vec<String> {
    let fields = headers.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}: {text}"),
            None => format!("{name}: {value}"),
        })
        .collect()
}

/// The body as JSON; what cannot be shown so is told in a map with the one field `undecodable`, and a large
/// body that lies in the object store with `object`.
pub(crate) fn body(headers: &HeaderMap, body: &[u8]) -> Value {
    if let Some(object) = headers.get("Mcp-Payload") {
        return json!({ "object": object.as_str() });
    }
    decoded(headers, body)
        .unwrap_or_else(|reason| json!({ "undecodable": reason, "bytes": body.len() }))
}

fn decoded(headers: &HeaderMap, body: &[u8]) -> Result<Value, String> {
    let content_type = headers.get("Content-Type").map(|value| value.as_str());
    let format = Format::from_content_type(content_type).map_err(|error| error.to_string())?;
    let raw: Raw = format.decode(body).map_err(|error| error.to_string())?;
    serde_json::to_value(&raw).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_body_is_shown_or_says_why_not() {
        let mut headers = HeaderMap::new();
        assert_eq!(body(&headers, &[0x81, 0xa1, b'n', 7]), json!({ "n": 7 }));
        assert_eq!(body(&headers, &[0xc1])["bytes"], 1);
        headers.insert("Content-Type", "application/json");
        assert_eq!(body(&headers, b"{\"n\": [1]}"), json!({ "n": [1] }));
        headers.insert("Mcp-Payload", "x1");
        assert_eq!(body(&headers, b""), json!({ "object": "x1" }));
    }
}
