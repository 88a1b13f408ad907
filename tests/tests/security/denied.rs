//! A right that is missing is a typed error that names the subject, at once: to programs and to whoever uses `mcpctl`.

use std::time::{Duration, Instant};

use mcp_agent_sdk::{
    Agent, Context, McpError, SendError, code,
    runtime::{
        DeadLetterError, DeadLetterFilter, DeadLetters, PublishError,
        persistence::{JetStreamPersistence, MessagePersistence, MessageQuery, PersistenceError},
    },
};
use mcp_tests::{eventually, run_with};

use crate::realm::{Realm, TestResult};

/// Any of the time-outs that a refusal could be mistaken for takes longer.
const AT_ONCE: Duration = Duration::from_secs(9);

async fn length(_: Context, text: String) -> Result<usize, McpError> {
    Ok(text.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_told_at_once_what_they_may_not_ask() -> TestResult {
    let realm = Realm::found(&[
        &["worker"],
        &["desk", "--client", "--commands", "worker"],
        &["heavy", "--client", "--commands", "worker", "--payloads"],
    ])
    .await;
    let worker = realm.client("worker").await;
    let _worker = Agent::new("worker")
        .on("length", length)
        .start(&worker)
        .await?;
    let desk = realm.client("desk").await;
    let began = Instant::now();

    let letters = DeadLetters::new(&desk);
    let listed = letters.list(&DeadLetterFilter::new()).await;
    let Err(DeadLetterError::PermissionDenied { subject }) = listed else {
        panic!("{listed:?}");
    };
    assert_eq!(subject, "$JS.API.STREAM.INFO.mcp_dead_letters");
    let deleted = letters.delete(1).await;
    let Err(DeadLetterError::PermissionDenied { subject }) = deleted else {
        panic!("{deleted:?}");
    };
    assert_eq!(subject, "$JS.API.STREAM.MSG.DELETE.mcp_dead_letters");

    let messages = JetStreamPersistence::new(&desk);
    let found = messages.query(MessageQuery::new()).await;
    let Err(PersistenceError::PermissionDenied { subject }) = found else {
        panic!("{found:?}");
    };
    assert_eq!(subject, "$JS.API.STREAM.INFO.mcp_commands");

    // A body that would go through the object store.
    let large = "x".repeat(400 * 1024);
    let sent = desk.send_command::<usize>("worker", "length", &large).await;
    let Err(SendError::PermissionDenied { subject }) = sent else {
        panic!("{sent:?}");
    };
    assert!(subject.ends_with(".OBJ_mcp_payloads"), "{subject}");
    let published = desk.publish("said", &large).await;
    let Err(PublishError::PermissionDenied { subject }) = published else {
        panic!("{published:?}");
    };
    assert!(subject.ends_with(".OBJ_mcp_payloads"), "{subject}");
    // One who may send it to somebody who may not read it: neither whom it is from nor what it asks, so it can only be buried.
    let heavy = realm.client("heavy").await;
    heavy.submit_command("worker", "length", &large).await?;
    let admin = DeadLetters::new(&realm.client("admin").await);
    let of_denials = DeadLetterFilter::new().reason(code::PERMISSION_DENIED);
    eventually("it is buried with the reason", || async {
        matches!(admin.list(&of_denials).await, Ok(letters) if letters.len() == 1)
    })
    .await;

    // Nothing answers a cancel, and yet the refusal is heard.
    let other = desk.cancel("desk", "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a41");
    let Err(SendError::PermissionDenied { subject }) = other.await else {
        panic!("it may not cancel");
    };
    assert_eq!(subject, "mcp.ctl.desk.cancel");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_without_the_administrators_rights_are_told_at_once() -> TestResult {
    let realm = Realm::found(&[&["desk", "--client"]]).await;
    let desk = realm.identity("desk");
    let desk = desk.to_str().ok_or("the path is text")?;
    let url = realm.cluster.url();
    let here = realm.folder.path();
    for (order, asks) in [
        (&["dead", "list"][..], "STREAM.INFO.mcp_dead_letters"),
        (&["dead", "delete", "1"], "mcp_dead_letters"),
        (&["messages", "list"], "STREAM.INFO.mcp_commands"),
        (&["events", "tail"], "STREAM.INFO.mcp_events"),
        (&["workflow", "list"], "STREAM.INFO.mcp_tasks_0"),
        (&["setup"], "STREAM.INFO.mcp_tasks_0"),
        (&["backup", "copy"], "STREAM.INFO.mcp_tasks_0"),
        (&["auth", "apply"], "STREAM."),
    ] {
        let began = Instant::now();
        let arguments = [order, &["--json"]].concat();
        let refused = run_with(here, &url, &arguments, &[("MCP_AUTH", desk)]).await;
        assert_eq!(refused.code, 2, "{order:?}: {refused:?}");
        let error = &refused.json()["error"];
        assert_eq!(error["code"], code::PERMISSION_DENIED, "{order:?}: {error}");
        let subject = error["details"]["subject"].as_str().unwrap_or_default();
        assert!(subject.starts_with("$JS.API."), "{order:?}: {error}");
        assert!(subject.contains(asks), "{order:?}: {error}");
        assert!(
            refused.stderr.contains(subject) && refused.stderr.contains("mcpctl auth show"),
            "{refused:?}"
        );
        assert!(
            began.elapsed() < AT_ONCE,
            "{order:?}: {:?}",
            began.elapsed()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_may_be_seen_by_everybody_who_may_connect() -> TestResult {
    let realm = Realm::found(&[&["desk", "--client"], &["worker"]]).await;
    let worker = realm.client("worker").await;
    let _worker = Agent::new("worker")
        .on("length", length)
        .start(&worker)
        .await?;
    let desk = realm.identity("desk");
    let desk = desk.to_str().ok_or("the path is text")?;
    let (here, url) = (realm.folder.path(), realm.cluster.url());
    let shown = run_with(here, &url, &["agents", "--json"], &[("MCP_AUTH", desk)]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(shown.json()["agents"][0]["agent"], "worker", "{shown:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_not_or_is_not_trusted_is_told_so() -> TestResult {
    let realm = Realm::found(&[]).await;
    let place = |file: &str| realm.identity("admin").join(file).display().to_string();
    let (seed, ca) = (place("user.nk"), place("ca.crt"));
    let seed = ("MCP_NATS_NKEY", &*seed);
    for (identity, says) in [
        (&[seed][..], "UnknownIssuer"),
        (&[seed, ("MCP_NATS_CA", &*ca)], "CertificateRequired"),
    ] {
        let url = realm.cluster.url();
        let refused = run_with(realm.folder.path(), &url, &["agents"], identity).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains(says) && refused.stderr.contains("MCP_NATS_CERT"),
            "{refused:?}"
        );
    }
    Ok(())
}
