//! Validated names: what may stand in a subject, a stream's name or a key.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A text that is no valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: it must match {pattern}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    pattern: &'static str,
}

/// A namespace, agent, action, event, workflow definition, state or checkpoint:
/// `[a-z0-9][a-z0-9_-]{0,63}`.
///
/// ```
/// use mcp_runtime::Name;
/// assert!("content_agent".parse::<Name>().is_ok());
/// assert!("Content Agent".parse::<Name>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// An instance, workflow or requester id: `[A-Za-z0-9_-]{1,128}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(Arc<str>);

impl Name {
    const PATTERN: &'static str = "[a-z0-9][a-z0-9_-]{0,63}";

    /// Checks `text`.
    ///
    /// # Errors
    /// When `text` does not have the form of a name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let valid = (1..=64).contains(&bytes.len())
            && is_lower_alphanumeric(bytes[0])
            && bytes
                .iter()
                .all(|&b| is_lower_alphanumeric(b) || b == b'_' || b == b'-');
        match valid {
            true => Ok(Self(text.into())),
            false => Err(invalid(text, "name", Self::PATTERN)),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Token {
    const PATTERN: &'static str = "[A-Za-z0-9_-]{1,128}";

    /// Checks `text`.
    ///
    /// # Errors
    /// When `text` does not have the form of an id.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let valid = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        match valid {
            true => Ok(Self(text.into())),
            false => Err(invalid(text, "id", Self::PATTERN)),
        }
    }

    /// A new random id, for an instance or a requester.
    #[must_use]
    pub fn random() -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self(id[..16].into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn invalid(text: &str, what: &'static str, pattern: &'static str) -> InvalidName {
    // A hostile peer's megabyte does not belong in a message.
    let text = text.chars().take(80).collect();
    InvalidName {
        text,
        what,
        pattern,
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0.as_ref().to_owned()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
text_type!(Name);
text_type!(Token);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern() {
        let long = "a".repeat(64);
        for good in ["a", "0", "content_agent", "a-b", "9_", &long] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in [
            "", "_a", "-a", "A", "a.b", "a b", "a*", "a>", "é", &too_long,
        ] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_allow_capitals_and_128_characters() {
        assert!(Token::new("Ab_-9").is_ok());
        assert!(Token::new(&"a".repeat(128)).is_ok());
        for bad in ["", "a.b", "a b", &"a".repeat(129)] {
            assert!(Token::new(bad).is_err(), "{bad}");
        }
    }
}
