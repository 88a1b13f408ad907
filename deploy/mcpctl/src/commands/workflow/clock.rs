//! The server's time: the records are dated by it, and ages are counted between its own timestamps.

use mcp_agent_sdk::Client;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    commands::agents,
    failure::{Failure, chain},
};

/// Unix milliseconds by the server's clock.
pub(super) async fn now_ms(client: &Client) -> Result<u64, Failure> {
    // Any stream will do; each of its answers is dated. This is the one that whoever drives workflows may ask.
    let subject = format!("STREAM.INFO.{}", client.namespace().tasks_stream(0));
    let answer: Value = client
        .jetstream()
        .request(subject, &json!({}))
        .await
        .map_err(|error| {
            Failure::unreachable(format!("JetStream did not answer: {}", chain(&error)))
        })?;
    // A server that does not tell its time leaves only this machine's.
    let told = answer["ts"].as_str().and_then(unix_ms);
    Ok(told.unwrap_or_else(agents::now_ms))
}

fn unix_ms(stamp: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(stamp, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_the_server_are_read() {
        assert_eq!(
            unix_ms("2026-11-03T12:20:00.250123Z"),
            Some(1_793_708_400_250)
        );
        assert_eq!(unix_ms("yesterday"), None);
    }
}
