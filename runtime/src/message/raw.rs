//! A value of any shape, kept encoded.

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, ser::Error as _,
};

use super::codec::{self, DecodeError, EncodeError};

/// Parameters, results and event data before their type is known.
///
/// Held as msgpack whatever format they came in, so that one megabyte on the wire stays one megabyte
/// in memory; a tree of dynamic values would take thirty.
///
/// ```
/// use mcp_runtime::Raw;
/// let raw = Raw::encode(&("Ada", 36))?;
/// let (name, age): (String, u8) = raw.decode()?;
/// assert_eq!((name.as_str(), age), ("Ada", 36));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(Bytes);

/// An empty msgpack map.
const EMPTY_MAP: &[u8] = &[0x80];
const NIL: &[u8] = &[0xc0];

impl Raw {
    /// The empty map, the default of a command's parameters.
    #[must_use]
    pub const fn empty_map() -> Self {
        Self(Bytes::from_static(EMPTY_MAP))
    }

    /// The absence of a value.
    #[must_use]
    pub const fn null() -> Self {
        Self(Bytes::from_static(NIL))
    }

    /// Encodes `value`.
    ///
    /// # Errors
    /// When `value` cannot be serialised.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        codec::to_msgpack(value).map(|body| Self(body.into()))
    }

    /// Decodes into a type of the reader's choice. A type without fields, such as `()`, also accepts
    /// the empty map.
    ///
    /// # Errors
    /// When the value has another shape; the error names the field.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let decoded = codec::from_msgpack(&self.0);
        match decoded {
            Err(_) if self.0 == EMPTY_MAP => codec::from_msgpack(NIL).or(decoded),
            decoded => decoded,
        }
    }

    /// The encoded length in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.0.len()
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self::empty_map()
    }
}

// Values may hold secrets and megabytes: neither belongs in a log line.
impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut deserializer = codec::msgpack_deserializer(&self.0);
        serde_transcode::transcode(&mut deserializer, serializer).map_err(S::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let transcoder = serde_transcode::Transcoder::new(deserializer);
        let body = codec::to_msgpack(&transcoder).map_err(serde::de::Error::custom)?;
        Ok(Self(body.into()))
    }
}
