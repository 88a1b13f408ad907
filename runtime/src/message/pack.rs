//! Several messages in one: an array of pairs, each the headers and the body of a member.
//!
//! Read by hand, not by serde: a member's body is a slice of the pack's, and what a stranger declares is believed only as
//! far as there are bytes for it.

use async_nats::HeaderMap;
use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeError;

/// The header that says that a message is a pack, and of how many.
pub(crate) const PACK: &str = "Mcp-Pack";

/// The last token of a pack's subject.
pub(crate) const PACK_TOKEN: &str = "pack";

/// Members that a pack has at most. A receiver holds a few hundred bytes for each.
pub(crate) const MOST_MEMBERS: usize = 1_024;

/// Headers of one member; ours have four.
const MOST_HEADERS: usize = 64;

/// One message of a pack.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How many bytes a member takes in a pack, a few more at most.
pub(crate) fn size_of(headers: &HeaderMap, body: &Bytes) -> usize {
    let text = |text: &str| text.len() + 5;
    let headers = headers.iter().map(|(name, values)| {
        text(name.as_ref()) + values.first().map_or(1, |value| text(value.as_str()))
    });
    headers.sum::<usize>() + body.len() + 16
}

/// Writes a pack's body. Of a header with several values the first travels: no header of the protocol has more.
pub(crate) fn encode<'a>(
    members: impl ExactSizeIterator<Item = (&'a HeaderMap, &'a Bytes)>,
    size: usize,
) -> Bytes {
    let mut out = BytesMut::with_capacity(size + 8);
    put_length(&mut out, members.len(), 0x90, 0xdc);
    for (headers, body) in members {
        out.put_u8(0x92);
        put_length(&mut out, headers.len(), 0x80, 0xde);
        for (name, values) in headers.iter() {
            put_text(&mut out, name.as_ref());
            put_text(&mut out, values.first().map_or("", |value| value.as_str()));
        }
        out.put_u8(0xc6);
        out.put_u32(body.len() as u32);
        out.put_slice(body);
    }
    out.freeze()
}

fn put_length(out: &mut BytesMut, length: usize, fix: u8, two_bytes: u8) {
    match length {
        0..16 => out.put_u8(fix | length as u8),
        _ => {
            out.put_u8(two_bytes);
            out.put_u16(length as u16);
        }
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(0xdb);
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

/// Reads a pack's body of `declared` members, as its header says.
///
/// # Errors
/// When it is no array of so many pairs, or something is left over.
pub(crate) fn decode(body: &Bytes, declared: Option<&str>) -> Result<Vec<Packed>, DecodeError> {
    let mut reader = Reader { body, at: 0 };
    let count = reader.length(0x90, 0xdc, 0xdd, "an array of members")?;
    if !(1..=MOST_MEMBERS).contains(&count) {
        return Err(reader.error(format!(
            "a pack has 1 to {MOST_MEMBERS} members, not {count}"
        )));
    }
    if declared.and_then(|declared| declared.parse().ok()) != Some(count) {
        return Err(reader.error(format!(
            "`{PACK}` does not say that there are {count} members"
        )));
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(reader.member()?);
    }
    match reader.at == body.len() {
        true => Ok(members),
        false => Err(reader.error("something follows the last member")),
    }
}

struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn member(&mut self) -> Result<Packed, DecodeError> {
        if self.length(0x90, 0xdc, 0xdd, "a pair")? != 2 {
            return Err(self.error("a member is a pair of headers and body"));
        }
        let count = self.length(0x80, 0xde, 0xdf, "a map of headers")?;
        if count > MOST_HEADERS {
            return Err(self.error(format!("more than {MOST_HEADERS} headers")));
        }
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            let (name, value) = (self.text()?, self.text()?);
            let header = name.parse::<async_nats::HeaderName>();
            let pair = header
                .ok()
                .zip(value.parse::<async_nats::HeaderValue>().ok());
            let (name, value) = pair.ok_or_else(|| self.error("a header that cannot be one"))?;
            headers.insert(name, value);
        }
        let length = match self.byte()? {
            0xc4 => self.unsigned(1)?,
            0xc5 => self.unsigned(2)?,
            0xc6 => self.unsigned(4)?,
            _ => return Err(self.error("a body that is not bytes")),
        };
        let body = self.take(length)?;
        Ok(Packed { headers, body })
    }

    /// The length of an array or a map, in one of its three forms.
    fn length(&mut self, fix: u8, two: u8, four: u8, what: &str) -> Result<usize, DecodeError> {
        match self.byte()? {
            byte if byte & 0xf0 == fix => Ok(usize::from(byte & 0x0f)),
            byte if byte == two => self.unsigned(2),
            byte if byte == four => self.unsigned(4),
            _ => Err(self.error(format!("not {what}"))),
        }
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = match self.byte()? {
            byte if byte & 0xe0 == 0xa0 => usize::from(byte & 0x1f),
            0xd9 => self.unsigned(1)?,
            0xda => self.unsigned(2)?,
            0xdb => self.unsigned(4)?,
            _ => return Err(self.error("a header that is not text")),
        };
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(&bytes).map(str::to_owned);
        text.map_err(|_| self.error("a header that is not UTF-8"))
    }

    fn unsigned(&mut self, bytes: usize) -> Result<usize, DecodeError> {
        let bytes = self.take(bytes)?;
        Ok(bytes
            .iter()
            .fold(0, |all, byte| (all << 8) | usize::from(*byte)))
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.body.len());
        let end = end.ok_or_else(|| self.error("it ends too soon"))?;
        let taken = self.body.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn error(&self, reason: impl std::fmt::Display) -> DecodeError {
        DecodeError::new(format!("no pack: {reason} (at byte {})", self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(text: &str, body: &[u8]) -> Packed {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", text);
        headers.insert("traceparent", "00-1-2-01");
        Packed {
            headers,
            body: Bytes::copy_from_slice(body),
        }
    }

    fn encoded(members: &[Packed]) -> Bytes {
        encode(members.iter().map(|it| (&it.headers, &it.body)), 0)
    }

    #[test]
    fn what_goes_in_comes_out() {
        for count in [1, 15, 16, 300] {
            let members: Vec<_> = (0..count)
                .map(|n| member(&format!("m{n}"), &[7; 40]))
                .collect();
            let body = encoded(&members);
            assert!(
                body.len()
                    <= members
                        .iter()
                        .map(|it| size_of(&it.headers, &it.body))
                        .sum::<usize>()
                        + 8
            );
            let read = decode(&body, Some(&count.to_string())).unwrap();
            assert_eq!(read.len(), count);
            for (read, written) in read.iter().zip(&members) {
                assert_eq!(
                    (&read.headers, &read.body),
                    (&written.headers, &written.body)
                );
            }
        }
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let body = encoded(&[member("a", b"x"), member("b", b"y")]);
        let check = |body: &[u8], declared: Option<&str>, expected: &str| {
            let error = decode(&Bytes::copy_from_slice(body), declared).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&body, Some("3"), "does not say that there are 2");
        check(&body, None, "does not say");
        check(&body[..body.len() - 1], Some("2"), "ends too soon");
        check(&[&body[..], b"z"].concat(), Some("2"), "follows the last");
        check(b"", Some("0"), "ends too soon");
        check(&[0x90], Some("0"), "1 to 1024 members, not 0");
        check(
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            Some("4294967295"),
            "members, not",
        );
        check(&[0x91, 0x80], Some("1"), "not a pair");
        check(&[0x91, 0x92, 0x80, 0xa1, b'x'], Some("1"), "not bytes");
        check(
            &[0x91, 0x92, 0x80, 0xc6, 0xff, 0xff, 0xff, 0xff],
            Some("1"),
            "ends too soon",
        );
        check(
            &[0x91, 0x92, 0x81, 0xa1, b'a', 0xa1, b'\n', 0xc4, 0],
            Some("1"),
            "cannot be one",
        );
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_stranger_do_harm(body in prop::collection::vec(any::<u8>(), 0..300), n in 0_usize..20) {
            let _ = decode(&Bytes::from(body), Some(&n.to_string()));
        }

        #[test]
        fn nor_does_a_pack_with_a_broken_byte(at in 0_usize..200, byte in any::<u8>()) {
            let mut body = encoded(&[member("a", b"body"), member("b", b"body")]).to_vec();
            if let Some(broken) = body.get_mut(at) {
                *broken = byte;
            }
            if let Ok(members) = decode(&Bytes::from(body), Some("2")) {
                prop_assert_eq!(members.len(), 2);
            }
        }
    }
}
