//! Every row of the table of error codes is reached from outside, with the category that the page says.

use std::{collections::BTreeMap, fs};

use mcp_agent_sdk::code;
use mcp_tests::workspace;
use serde_json::json;

use crate::{
    MACHINE, TestResult, bounded,
    provoke::{LIMIT, Stage},
};

/// The codes, and what somebody outside does to get each.
const PROVOKED: [(&str, &str); 14] = [
    (
        code::INVALID_PARAMETERS,
        "sends a text where the action reads a number",
    ),
    (code::INVALID_MESSAGE, "publishes a body of version 2"),
    (
        code::UNKNOWN_ACTION,
        "asks for an action that the agent does not have",
    ),
    (
        code::DEADLINE_EXCEEDED,
        "sends a command that is worth doing for no time at all",
    ),
    (code::CANCELLED, "cancels a running command"),
    (
        code::IDEMPOTENCY_CONFLICT,
        "uses a key again, with other parameters",
    ),
    (code::PAYLOAD_TOO_LARGE, "asks for a result of 65 MiB"),
    (
        code::POISON,
        "takes a command five times without ending it, as workers that die",
    ),
    (code::HANDLER_PANICKED, "lets the handler panic"),
    (
        code::OVERLOADED,
        "sends a second realtime command to an agent with one place",
    ),
    (
        code::DRAINING,
        "lets an agent drain whose realtime command outlasts its grace",
    ),
    (code::TIMEOUT, "sends to an agent that nobody runs"),
    (
        code::TRANSPORT_UNAVAILABLE,
        "sends while the server is dead",
    ),
    (
        code::INTERNAL,
        "lets the handler fail by an error that says nothing about itself",
    ),
];

/// Not provoked here: `protection` provokes the first, `denied.rs` the next two, `presence` the last.
const ELSEWHERE: [&str; 4] = [
    code::CIRCUIT_OPEN,
    code::RATE_LIMITED,
    code::PERMISSION_DENIED,
    code::NO_INSTANCE,
];

/// Not in the page's table: every handler's `?` makes it.
const UNLISTED: [(&str, &str); 1] = [(code::INTERNAL, "TEMPORARY")];

/// The rows of the page's table: code and category.
fn published() -> BTreeMap<String, String> {
    let page = fs::read_to_string(workspace().join("PROTOCOL.md")).unwrap();
    let section = page
        .split("\n## 6.")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((code.to_owned(), cells.next()?.to_owned()))
    });
    rows.collect()
}

#[test]
fn no_row_of_the_page_is_forgotten() {
    let mut known: Vec<&str> = PROVOKED
        .iter()
        .map(|(code, _)| *code)
        .chain(ELSEWHERE)
        .collect();
    known.retain(|code| UNLISTED.iter().all(|(unlisted, _)| unlisted != code));
    known.sort_unstable();
    let published = published();
    assert_eq!(
        known,
        published.keys().map(String::as_str).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_reached_from_outside() -> TestResult {
    let _shared = MACHINE.read().await;
    bounded(LIMIT, async {
        let mut categories = published();
        categories.extend(UNLISTED.map(|(code, category)| (code.to_owned(), category.to_owned())));
        let stage = Stage::set().await?;
        for (code, how) in PROVOKED {
            let error = Box::pin(stage.provoke(code))
                .await
                .map_err(|error| format!("{code}: {error}"))?;
            assert_eq!(error.code, code, "somebody who {how} got {error}");
            assert_eq!(json!(error.category), json!(categories[code]), "{code}");
            let promised = match code {
                code::INVALID_PARAMETERS => error.details["field"] == "ms",
                code::UNKNOWN_ACTION => error.details["actions"]
                    .as_array()
                    .is_some_and(|names| !names.is_empty()),
                code::OVERLOADED => error.retry_delay.is_some(),
                code::TIMEOUT => error.details["queued"] == true,
                _ => true,
            };
            assert!(promised, "{code} carries too little: {error:?}");
        }
        Ok(())
    })
    .await
}
