//! The server itself: version, storage, clock.

use std::time::{Duration, Instant};

use mcp_agent_sdk::Client;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::finding::Finding;
use crate::{
    commands::agents::now_ms,
    failure::{Failure, chain},
    output::bytes,
};

/// No decision compares clocks, but people compare times: above this they are misled.
const CLOCK_LIMIT_MS: i64 = 1_000;

/// Version, JetStream, storage. That the server is new enough was checked while connecting.
pub(super) async fn check(client: &Client) -> Result<Vec<Finding>, Failure> {
    let info = client.nats().server_info();
    let asked = Instant::now();
    let account = client.jetstream().query_account().await.map_err(|error| {
        Failure::unreachable(format!("JetStream did not answer: {}", chain(&error)))
    })?;
    let round_trip = asked.elapsed();
    let cluster = info
        .cluster
        .as_ref()
        .map_or(String::new(), |name| format!(", cluster `{name}`"));
    let mut findings = vec![
        Finding::ok(
            "server",
            format!(
                "nats-server {} at {}{cluster}",
                info.version,
                client.server()
            ),
        ),
        Finding::ok(
            "jetstream",
            format!(
                "answers in {:.1} ms, messages up to {}",
                millis(round_trip),
                bytes(info.max_payload as u64)
            ),
        ),
    ];
    findings.push(storage(
        "file storage",
        account.storage,
        account.limits.max_storage,
    ));
    findings.push(storage(
        "memory storage",
        account.memory,
        account.limits.max_memory,
    ));
    findings.push(durability(info.cluster.is_some()));
    Ok(findings)
}

fn storage(subject: &str, used: u64, limit: Option<i64>) -> Finding {
    let remedy = "raise the account's limit (`mcpctl auth init --max-file SIZE`, then a reload), or shorten how long events are kept";
    match limit.and_then(|limit| u64::try_from(limit).ok()) {
        Some(limit) => {
            let text = format!("{} of {} used", bytes(used), bytes(limit));
            let finding = Finding::of_usage(subject, text, used, limit);
            if finding.level == super::Level::Ok {
                finding
            } else {
                finding.remedy(remedy)
            }
        }
        None => Finding::ok(
            subject,
            format!("{} used, no limit for this account", bytes(used)),
        ),
    }
}

/// A client cannot read the setting, so this only says what there is to know.
fn durability(clustered: bool) -> Finding {
    let text = match clustered {
        true => "replicas keep stored messages when a node loses power",
        false => {
            "a killed server loses nothing; a power cut may lose the last 2 minutes, unless its configuration has \
             `sync_interval: always`, which costs throughput"
        }
    };
    Finding::ok("durability", text)
}

/// How far the server's clock is from this machine's.
pub(super) async fn clock(client: &Client) -> Result<Finding, Failure> {
    let subject = format!("STREAM.INFO.{}", client.namespace().commands_stream());
    let (sent_ms, asked) = (now_ms(), Instant::now());
    let answer: Value = client
        .jetstream()
        .request(subject, &json!({}))
        .await
        .map_err(|error| {
            Failure::unreachable(format!("JetStream did not answer: {}", chain(&error)))
        })?;
    let round_trip = asked.elapsed();
    let Some(server_ms) = answer["ts"].as_str().and_then(unix_ms) else {
        return Ok(Finding::warn("clock", "the server does not tell its time"));
    };
    // The server read its clock somewhere in between: the middle is off by half the round trip at most.
    let local_ms = i64::try_from(sent_ms)
        .unwrap_or(i64::MAX)
        .saturating_add((millis(round_trip) / 2.0) as i64);
    let offset = server_ms.saturating_sub(local_ms);
    let text = format!("the server's clock is {offset:+} ms from this machine's");
    Ok(match offset.abs() {
        0..=CLOCK_LIMIT_MS => Finding::ok("clock", text),
        _ => Finding::warn("clock", text)
            .remedy("nothing breaks, but shown times mislead: let both follow a time server"),
    })
}

fn unix_ms(stamp: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(stamp, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
