//! Every server of a cluster, as the system account sees it: version, sync, clock.

use std::{path::Path, time::Duration};

use futures_util::StreamExt;
use mcp_agent_sdk::Config;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, timeout_at};

use super::finding::Finding;
use crate::{commands::agents::now_ms, failure::Failure};

/// All servers answer by themselves; nobody says how many there are.
const LISTEN: Duration = Duration::from_secs(1);

/// More servers than anybody runs in one cluster.
const MOST: usize = 256;

/// Above this people who compare times are misled, and schedules come noticeably late.
const CLOCK_LIMIT_MS: i64 = 1_000;

/// One server's answer.
struct Seen {
    name: String,
    version: String,
    /// What its configuration says about syncing; `None` without JetStream.
    sync_always: Option<bool>,
    offset_ms: Option<i64>,
}

/// What is not looked at without such an identity. A server without accounts has nobody who could.
pub(super) fn unasked(secured: bool) -> Finding {
    let text = "version, sync and clock of each server were not looked at";
    match secured {
        true => Finding::warn("servers", text)
            .remedy("name an identity of the system account: --system auth/system"),
        false => Finding::ok(
            "servers",
            format!("{text}: only a system account may ask (`mcpctl auth init`)"),
        ),
    }
}

/// Asks all servers, with an identity of the system account.
pub(super) async fn check(config: Config, identity: &Path) -> Result<Vec<Finding>, Failure> {
    let nats = config.auth(identity).name("mcpctl").open().await?;
    let inbox = nats.new_inbox();
    let unanswered =
        |error: String| Failure::unreachable(format!("the servers were not asked: {error}"));
    let subscribed = nats.subscribe(inbox.clone()).await;
    let mut answers = subscribed.map_err(|error| unanswered(error.to_string()))?;
    let sent_ms = i64::try_from(now_ms()).unwrap_or(i64::MAX);
    nats.publish_with_reply("$SYS.REQ.SERVER.PING.VARZ", inbox, "{}".into())
        .await
        .map_err(|error| unanswered(error.to_string()))?;
    let until = Instant::now() + LISTEN;
    let mut seen = Vec::new();
    while seen.len() < MOST
        && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
    {
        if let Ok(answer) = serde_json::from_slice(&answer.payload) {
            seen.push(read(&answer, sent_ms));
        }
    }
    Ok(judge(&seen))
}

fn read(answer: &Value, sent_ms: i64) -> Seen {
    let (server, data) = (&answer["server"], &answer["data"]);
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let config = &data["jetstream"]["config"];
    let time = server["time"].as_str().and_then(unix_ms);
    Seen {
        name: text(&server["name"]),
        version: text(&server["ver"]),
        sync_always: config
            .is_object()
            .then(|| config["sync_always"].as_bool().unwrap_or(false)),
        // Read at some time after the question: what is slower than the limit is shown as such.
        offset_ms: time.map(|time| time.saturating_sub(sent_ms)),
    }
}

fn judge(seen: &[Seen]) -> Vec<Finding> {
    if seen.is_empty() {
        let text = "no server answers the system account";
        return vec![
            Finding::fail("servers", text).remedy("is the folder that of the identity `system`?"),
        ];
    }
    vec![versions(seen), sync(seen), clocks(seen)]
}

fn names<'a>(seen: impl Iterator<Item = &'a Seen>) -> String {
    seen.map(|server| server.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn versions(seen: &[Seen]) -> Finding {
    let newest = seen
        .iter()
        .map(|server| server.version.as_str())
        .max()
        .unwrap_or_default();
    let others = seen.iter().filter(|server| server.version != newest);
    match names(others) {
        others if others.is_empty() => Finding::ok(
            "versions",
            format!("servers that answer: {}, all {newest}", seen.len()),
        ),
        others => Finding::warn("versions", format!("not yet {newest}: {others}"))
            .remedy("finish the rolling update of the servers"),
    }
}

fn sync(seen: &[Seen]) -> Finding {
    let lazy = seen
        .iter()
        .filter(|server| server.sync_always == Some(false));
    match names(lazy) {
        lazy if lazy.is_empty() => Finding::ok("sync", "every message is on disk before it is acknowledged"),
        lazy => Finding::warn("sync", format!("acknowledged before it is on disk: {lazy}")).remedy(
            "where a power cut can take a majority at once, set `jetstream { sync_interval: always }`; it costs throughput",
        ),
    }
}

fn clocks(seen: &[Seen]) -> Finding {
    let offsets = seen.iter().filter_map(|server| server.offset_ms);
    let (least, most) = offsets.fold((i64::MAX, i64::MIN), |(least, most), offset| {
        (least.min(offset), most.max(offset))
    });
    let spread = most.saturating_sub(least);
    match spread {
        0..=CLOCK_LIMIT_MS => Finding::ok(
            "clocks",
            format!("the servers' clocks are within {spread} ms of each other"),
        ),
        i64::MIN..0 => Finding::warn("clocks", "no server tells its time"),
        _ => Finding::warn(
            "clocks",
            format!("the servers' clocks differ by {spread} ms"),
        )
        .remedy("let all machines follow a time server: schedules and lifetimes go by them"),
    }
}

fn unix_ms(stamp: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(stamp, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    fn server(version: &str, sync_always: bool, offset_ms: i64) -> Seen {
        Seen {
            name: "n".to_owned(),
            version: version.to_owned(),
            sync_always: Some(sync_always),
            offset_ms: Some(offset_ms),
        }
    }

    #[test]
    fn servers_that_differ_are_warned_of() {
        let check = |seen: &[Seen], expected: [Level; 3]| {
            let found: Vec<Level> = judge(seen).iter().map(|finding| finding.level).collect();
            assert_eq!(found, expected);
        };
        let good = || server("2.15.1", true, 3);
        check(&[good(), good()], [Level::Ok; 3]);
        check(
            &[good(), server("2.14.0", true, 3)],
            [Level::Warn, Level::Ok, Level::Ok],
        );
        check(
            &[good(), server("2.15.1", false, 3)],
            [Level::Ok, Level::Warn, Level::Ok],
        );
        check(
            &[good(), server("2.15.1", true, 5_000)],
            [Level::Ok, Level::Ok, Level::Warn],
        );
        assert_eq!(judge(&[])[0].level, Level::Fail);
    }
}
