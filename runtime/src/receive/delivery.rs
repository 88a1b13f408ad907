//! What the server says about a message that it delivers.

use std::time::Duration;

/// The facts in the acknowledgement subject of a delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryInfo {
    /// The stream that it lies in.
    pub stream: String,
    /// Its sequence there.
    pub stream_sequence: u64,
    /// 1 for the first delivery.
    pub deliveries: u64,
    /// When the server stored the message, in Unix milliseconds by its own clock.
    pub stored_at_ms: i64,
    /// How many more messages the consumer has waiting.
    pub pending: u64,
    /// Its place, from 0, where it came in a pack.
    pub place: Option<u32>,
    /// How many came in that pack.
    pub members: Option<u32>,
}

impl DeliveryInfo {
    /// Of a message that no stream has stored.
    pub(crate) fn realtime() -> Self {
        Self {
            stream: String::new(),
            stream_sequence: 0,
            deliveries: 1,
            stored_at_ms: 0,
            pending: 0,
            place: None,
            members: None,
        }
    }

    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`, or
    /// the longer form with domain and account in front and a token behind.
    pub(crate) fn parse(ack_subject: &str) -> Option<Self> {
        let tokens: Vec<&str> = ack_subject.split('.').collect();
        let [
            stream,
            _consumer,
            deliveries,
            stream_sequence,
            _,
            time,
            pending,
        ] = match tokens.as_slice() {
            ["$JS", "ACK", short @ ..] if short.len() == 7 => short.try_into().ok()?,
            ["$JS", "ACK", _domain, _account, long @ ..] if long.len() >= 7 => {
                long[..7].try_into().ok()?
            }
            _ => return None,
        };
        let stored_at_nanos: i64 = time.parse().ok()?;
        Some(Self {
            stream: stream.to_owned(),
            stream_sequence: stream_sequence.parse().ok()?,
            deliveries: deliveries.parse().ok()?,
            stored_at_ms: stored_at_nanos / 1_000_000,
            pending: pending.parse().ok()?,
            place: None,
            members: None,
        })
    }
}

/// How old a message was already when it was published again, by its `Mcp-Age-Ms` header.
pub(crate) fn age_before(headers: Option<&async_nats::HeaderMap>) -> Duration {
    let age_ms = headers
        .and_then(|headers| headers.get("Mcp-Age-Ms"))
        .and_then(|age| age.as_str().parse().ok());
    Duration::from_millis(age_ms.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_acknowledgement_subject_are_read() {
        let short = "$JS.ACK.mcp_commands.probe_low.2.17.5.1700000000123000000.9";
        let long = "$JS.ACK.hub.ABC.mcp_commands.probe_low.2.17.5.1700000000123000000.9.x7";
        for subject in [short, long] {
            let info = DeliveryInfo::parse(subject).unwrap();
            assert_eq!(
                (info.stream.as_str(), info.stream_sequence, info.deliveries),
                ("mcp_commands", 17, 2)
            );
            assert_eq!((info.stored_at_ms, info.pending), (1_700_000_000_123, 9));
        }
        for bad in ["", "$JS.ACK.a.b.c", "$JS.ACK.s.c.x.1.1.1.1", "_INBOX.1"] {
            assert!(DeliveryInfo::parse(bad).is_none(), "{bad}");
        }
    }
}
