//! Bodies as msgpack or JSON.
//!
//! The order of the checks is the defence: the size first, then one map at the top (never a positional
//! array), then typed decoding with a bounded depth, then nothing may be left over.

use bytes::Bytes;
use rmp_serde::config::{DefaultConfig, HumanReadableConfig, StructMapConfig};
use serde::{Serialize, de::DeserializeOwned};

/// The largest body that is decoded at all, whatever limit is configured.
pub(crate) const MAX_BODY_BYTES: usize = 512 * 1024 * 1024;

/// Nesting allowed in a body. serde_json's own bound; deeper data is an attack or a mistake.
const MAX_DEPTH: usize = 128;

/// How a body is encoded; a reply uses the format of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/msgpack`: maps with string keys. The default when the header is missing.
    #[default]
    Msgpack,
    /// `application/json`.
    Json,
}

/// A value that could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the value: {reason}")]
pub struct EncodeError {
    reason: String,
}

/// A body that could not be decoded.
#[derive(Debug, thiserror::Error)]
#[error("{reason}{}", at(field))]
pub struct DecodeError {
    reason: String,
    field: Option<String>,
}

fn at(field: &Option<String>) -> String {
    field
        .as_ref()
        .map(|field| format!(" at `{field}`"))
        .unwrap_or_default()
}

impl EncodeError {
    pub(crate) fn new(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

impl DecodeError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            field: None,
        }
    }

    /// The path of the field that could not be read, such as `scenes[2].caption`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl Format {
    /// Reads a `Content-Type` header; a missing header means msgpack.
    ///
    /// # Errors
    /// When the content type is neither of the two.
    pub fn from_content_type(header: Option<&str>) -> Result<Self, DecodeError> {
        let Some(header) = header else {
            return Ok(Self::Msgpack);
        };
        let essence = header.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/msgpack" | "" => Ok(Self::Msgpack),
            "application/json" => Ok(Self::Json),
            _ => {
                let shown: String = essence.chars().take(80).collect();
                Err(DecodeError::new(format!(
                    "content type `{shown}` is not supported; use application/msgpack or application/json"
                )))
            }
        }
    }

    /// The format of a NATS message, by its `Content-Type` header.
    ///
    /// # Errors
    /// When the content type is neither of the two.
    pub fn of_message(message: &async_nats::Message) -> Result<Self, DecodeError> {
        let header = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Content-Type"));
        Self::from_content_type(header.map(async_nats::HeaderValue::as_str))
    }

    /// The value of the `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Msgpack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// Encodes one of the protocol's bodies.
    ///
    /// # Errors
    /// When `value` cannot be serialised, for example a map with keys that are not strings in JSON.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, EncodeError> {
        match self {
            Self::Msgpack => to_msgpack(value).map(Bytes::from),
            Self::Json => serde_json::to_vec(value)
                .map(Bytes::from)
                .map_err(EncodeError::new),
        }
    }

    /// Decodes one of the protocol's bodies: a map, read to its last byte.
    ///
    /// # Errors
    /// When the body is too large, no map, of another shape, or followed by more bytes.
    pub fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, DecodeError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(DecodeError::new(format!(
                "body of {} bytes is over the limit of {MAX_BODY_BYTES}",
                body.len()
            )));
        }
        if !self.starts_a_map(body) {
            return Err(DecodeError::new(match body.is_empty() {
                true => "body is empty",
                false => "body is not a map with string keys",
            }));
        }
        match self {
            Self::Msgpack => from_msgpack(body),
            Self::Json => from_json(body),
        }
    }

    /// Decodes what can be decoded of a broken body: whatever follows the map is ignored.
    pub(crate) fn decode_prefix<T: DeserializeOwned>(self, body: &[u8]) -> Option<T> {
        if body.len() > MAX_BODY_BYTES || !self.starts_a_map(body) {
            return None;
        }
        match self {
            Self::Msgpack => T::deserialize(&mut msgpack_deserializer(body)).ok(),
            Self::Json => T::deserialize(&mut serde_json::Deserializer::from_slice(body)).ok(),
        }
    }

    fn starts_a_map(self, body: &[u8]) -> bool {
        match self {
            Self::Msgpack => matches!(body.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
            Self::Json => body.trim_ascii_start().first() == Some(&b'{'),
        }
    }
}

type Deserializer<'a> = rmp_serde::Deserializer<
    rmp_serde::decode::ReadReader<&'a [u8]>,
    HumanReadableConfig<DefaultConfig>,
>;

// Human readable: an address or a UUID inside parameters is then the same text in both formats.
pub(super) fn msgpack_deserializer(body: &[u8]) -> Deserializer<'_> {
    let mut deserializer = rmp_serde::Deserializer::new(body).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    deserializer
}

pub(super) fn to_msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    type Config = HumanReadableConfig<StructMapConfig<DefaultConfig>>;
    let mut serializer: rmp_serde::Serializer<Vec<u8>, Config> =
        rmp_serde::Serializer::new(Vec::with_capacity(256))
            .with_struct_map()
            .with_human_readable();
    value.serialize(&mut serializer).map_err(EncodeError::new)?;
    Ok(serializer.into_inner())
}

pub(super) fn from_msgpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let mut deserializer = msgpack_deserializer(body);
    // The way to what is wrong is only kept when something is: good bodies are not to pay for it.
    let value = T::deserialize(&mut deserializer).or_else(|_| {
        deserializer = msgpack_deserializer(body);
        serde_path_to_error::deserialize(&mut deserializer).map_err(located)
    })?;
    match deserializer.get_ref().len() {
        0 => Ok(value),
        rest => Err(DecodeError::new(format!("{rest} bytes follow the body"))),
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = T::deserialize(&mut deserializer).or_else(|_| {
        deserializer = serde_json::Deserializer::from_slice(body);
        serde_path_to_error::deserialize(&mut deserializer).map_err(located)
    })?;
    deserializer
        .end()
        .map_err(|error| DecodeError::new(error.to_string()))?;
    Ok(value)
}

fn located<E: std::fmt::Display>(error: serde_path_to_error::Error<E>) -> DecodeError {
    let path = error.path().to_string();
    // serde_path_to_error writes a lone dot for the root.
    let field = (path != ".").then_some(path);
    let reason = error.into_inner().to_string();
    let field = field.or_else(|| missing_field(&reason));
    DecodeError { reason, field }
}

/// serde reports a missing field at its parent: the name stands only in the text.
fn missing_field(reason: &str) -> Option<String> {
    let name = reason.strip_prefix("missing field `")?.split('`').next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::message::{Command, Raw};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        #[serde(default)]
        any: Raw,
    }

    #[test]
    fn both_formats_round_trip_and_agree() {
        let any = serde_json::json!({"list": [1, -2, 3.5, null, true, "ü"], "big": u64::MAX});
        let sample = Sample {
            name: "a".into(),
            any: Raw::encode(&any).unwrap(),
        };
        for format in [Format::Msgpack, Format::Json] {
            let body = format.encode(&sample).unwrap();
            let back: Sample = format.decode(&body).unwrap();
            assert_eq!(back, sample);
            assert_eq!(back.any.decode::<serde_json::Value>().unwrap(), any);
        }
    }

    #[test]
    fn bodies_that_are_not_one_map_are_refused() {
        let rows: [(Format, &[u8]); 7] = [
            (Format::Msgpack, b""),
            (Format::Msgpack, &[0x91, 0xa1, b'a']),
            (
                Format::Msgpack,
                &[0x81, 0xa4, b'n', b'a', b'm', b'e', 0xa1, b'a', 0xc0],
            ),
            (Format::Msgpack, &[0xdf, 0xff, 0xff, 0xff, 0xff]),
            (Format::Json, b"[\"a\"]"),
            (Format::Json, b"{\"name\":\"a\"} x"),
            (Format::Json, b""),
        ];
        for (format, body) in rows {
            assert!(
                format.decode::<Sample>(body).is_err(),
                "{format:?} {body:x?}"
            );
        }
    }

    #[test]
    fn errors_name_the_field() {
        let error = Format::Json
            .decode::<Sample>(br#"{"name": 7}"#)
            .unwrap_err();
        assert_eq!(error.field(), Some("name"));
        let error = Format::Json.decode::<Sample>(b"{}").unwrap_err();
        assert_eq!(error.field(), Some("name"));
    }

    #[test]
    fn deep_nesting_is_refused_without_overflowing_the_stack() {
        let mut body = vec![
            0x82, 0xa4, b'n', b'a', b'm', b'e', 0xa1, b'a', 0xa3, b'a', b'n', b'y',
        ];
        body.extend(std::iter::repeat_n(0x91, 500_000));
        assert!(Format::Msgpack.decode::<Sample>(&body).is_err());
        let json = format!(r#"{{"name":"a","any":{}"#, "[".repeat(500_000));
        assert!(Format::Json.decode::<Sample>(json.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut body in proptest::collection::vec(any::<u8>(), 0..512), map in any::<bool>()) {
            if map && !body.is_empty() { body[0] = 0x80 | (body[0] & 0x0f); }
            let _ = Format::Msgpack.decode::<Command>(&body);
            let _ = Format::Json.decode::<Command>(&body);
        }
    }
}
