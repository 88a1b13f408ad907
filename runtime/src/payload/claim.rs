//! What a message's headers say about its body: name, size and SHA-256 of an object.

use async_nats::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use super::error::PayloadError;

const NAME: &str = "Mcp-Payload";
const SIZE: &str = "Mcp-Payload-Size";
const SHA256: &str = "Mcp-Payload-Sha256";

/// Names are message ids with a prefix at most; this is far above them and far below a subject's bound.
const MAX_NAME_BYTES: usize = 512;

/// Bytes hashed at a stretch, about a quarter of a millisecond: the thread has other tasks.
const HASHED_AT_ONCE: usize = 256 * 1024;

pub(super) type Sum = [u8; 32];

/// A body that is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha256: Sum,
}

impl Claim {
    /// Reads the claim; `None` without the header `Mcp-Payload`.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, PayloadError> {
        let Some(name) = headers.get(NAME).map(HeaderValue::as_str) else {
            return Ok(None);
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(malformed(format!(
                "{NAME} is not 1 to {MAX_NAME_BYTES} bytes long"
            )));
        }
        let value = |header: &'static str| {
            headers
                .get(header)
                .map(|value| value.as_str().trim())
                .ok_or_else(|| malformed(format!("{header} is missing")))
        };
        let size = value(SIZE)?;
        // Digits alone: `parse` would take a plus sign as well.
        let size = Some(size)
            .filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|size| size.parse().ok());
        Ok(Some(Self {
            name: name.to_owned(),
            size: size.ok_or_else(|| malformed(format!("{SIZE} is no number of bytes")))?,
            sha256: from_hex(value(SHA256)?)
                .ok_or_else(|| malformed(format!("{SHA256} is not 64 hexadecimal digits")))?,
        }))
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(NAME, self.name.as_str());
        headers.insert(SIZE, self.size.to_string());
        headers.insert(SHA256, hex(&self.sha256));
    }
}

/// Takes a claim out of the headers: those of a copied message would contradict its new body.
pub(super) fn remove(headers: &mut HeaderMap) {
    if headers.get(NAME).is_none() {
        return;
    }
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text: &str = name.as_ref();
        if ![NAME, SIZE, SHA256]
            .iter()
            .any(|ours| ours.eq_ignore_ascii_case(text))
        {
            values
                .iter()
                .for_each(|value| kept.append(name.clone(), value.clone()));
        }
    }
    *headers = kept;
}

pub(super) async fn digest(body: &[u8]) -> Sum {
    let mut sha256 = Sha256::new();
    for piece in body.chunks(HASHED_AT_ONCE) {
        sha256.update(piece);
        tokio::task::yield_now().await;
    }
    sha256.finalize().into()
}

fn malformed(reason: String) -> PayloadError {
    PayloadError::Claim { reason }
}

pub(super) fn hex(sum: &Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Sum> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    (digits.len() == 64)
        .then(|| bytes.try_into().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn headers(name: &str, size: &str, sha256: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (header, value) in [(NAME, name), (SIZE, size), (SHA256, sha256)] {
            if !value.is_empty() {
                headers.insert(header, value);
            }
        }
        headers
    }

    #[tokio::test]
    async fn a_claim_is_read_as_it_was_written() {
        let claim = Claim {
            name: "outcome.7".to_owned(),
            size: 3,
            sha256: digest(b"abc").await,
        };
        let mut written = HeaderMap::new();
        claim.write(&mut written);
        assert_eq!(written, headers("outcome.7", "3", SUM_OF_ABC));
        assert_eq!(Claim::read(&written).unwrap(), Some(claim.clone()));
        let shouted = headers("outcome.7", "3", &SUM_OF_ABC.to_uppercase());
        assert_eq!(Claim::read(&shouted).unwrap(), Some(claim));
        assert_eq!(Claim::read(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn a_malformed_claim_is_refused_with_its_header() {
        let check = |headers: HeaderMap, expected: &str| {
            let error = Claim::read(&headers).unwrap_err();
            assert!(
                error.to_string().contains(expected) && !error.is_temporary(),
                "{error}"
            );
        };
        check(headers("x", "", SUM_OF_ABC), "Mcp-Payload-Size is missing");
        check(headers("x", "3", ""), "Mcp-Payload-Sha256 is missing");
        for size in ["-1", "+3", "3.0", "many", "0x10", "99999999999999999999"] {
            check(
                headers("x", size, SUM_OF_ABC),
                "Mcp-Payload-Size is no number",
            );
        }
        for sum in [
            "ab",
            &SUM_OF_ABC[1..],
            &format!("{SUM_OF_ABC}00"),
            &SUM_OF_ABC.replace('b', "g"),
            &"é".repeat(32),
        ] {
            check(headers("x", "3", sum), "64 hexadecimal");
        }
        check(
            headers(&"x".repeat(513), "3", SUM_OF_ABC),
            "Mcp-Payload is not 1 to 512",
        );
    }

    #[test]
    fn only_the_claim_is_removed() {
        let mut copied = headers("x", "3", SUM_OF_ABC);
        copied.append("Mcp-Errors", "1");
        copied.append("Mcp-Errors", "2");
        remove(&mut copied);
        let mut expected = HeaderMap::new();
        expected.append("Mcp-Errors", "1");
        expected.append("Mcp-Errors", "2");
        assert_eq!(copied, expected);
    }
}
