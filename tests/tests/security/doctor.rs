//! `mcpctl doctor` on a secured server: whether the server has what the folder of `mcpctl auth` says, and consumers of nobody.

use mcp_tests::{Finished, eventually, run_with};
use serde_json::Value;

use crate::realm::{Realm, TestResult, succeeded};

async fn as_admin(realm: &Realm, arguments: &[&str]) -> Finished {
    let admin = realm.identity("admin").display().to_string();
    let identity = [("MCP_AUTH", &*admin)];
    run_with(
        realm.folder.path(),
        &realm.cluster.url(),
        arguments,
        &identity,
    )
    .await
}

/// Level, text and remedy of what is said about something; `None` where nothing is.
fn says(report: &Value, subject: &str) -> Option<[String; 3]> {
    let checks = report["checks"].as_array()?;
    let check = checks.iter().find(|check| check["subject"] == subject)?;
    Some(
        ["level", "text", "remedy"].map(|part| check[part].as_str().unwrap_or_default().to_owned()),
    )
}

async fn doctor(realm: &Realm) -> Value {
    let order = ["doctor", "--json", "--auth-dir", "auth"];
    as_admin(realm, &order).await.json()
}

/// What is said about a subject that has to be mentioned.
#[track_caller]
fn said(report: &Value, subject: &str) -> [String; 3] {
    says(report, subject).unwrap_or_else(|| panic!("{subject}: {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_compares_the_folder_with_what_the_server_has() -> TestResult {
    let writer = ["writer", "--payloads"];
    let boss = [
        "boss",
        "--commands",
        "writer",
        "--subscribe",
        "news=writer.*",
        "--runs",
        "video",
    ];
    let realm = Realm::found(&[&writer, &boss]).await;
    let well = doctor(&realm).await;
    let [level, text, _] = said(&well, "identities");
    assert_eq!(level, "ok", "{well:#}");
    assert!(
        text.starts_with("3 have") && text.ends_with("asked: 1"),
        "{text}"
    );
    for stream in ["mcp_commands", "mcp_events", "mcp_tasks_0"] {
        assert_eq!(
            says(&well, &format!("consumers of {stream}")),
            None,
            "{well:#}"
        );
    }
    // What was not looked at is said, too.
    let [level, text, remedy] = said(&well, "servers");
    assert_eq!(level, "warn");
    assert!(
        text.contains("sync and clock") && remedy.contains("--system"),
        "{text}; {remedy}"
    );

    // Two changes that the server has not been told of.
    succeeded(realm.auth(&["agent", "add", "late"]).await);
    succeeded(realm.auth(&["agent", "add", "writer"]).await);
    let report = doctor(&realm).await;
    let [level, text, remedy] = said(&report, "identities");
    assert_eq!(level, "fail", "{report:#}");
    assert!(text.contains("late is not known"), "{text}");
    assert!(text.contains("writer has 0 rights too few"), "{text}");
    assert!(remedy.contains("--signal reload"), "{remedy}");
    let [level, text, remedy] = said(&report, "consumers of mcp_commands");
    assert_eq!(level, "fail");
    assert!(
        text.contains("late_critical") && remedy.contains("mcpctl auth apply"),
        "{text}; {remedy}"
    );

    realm.cluster.reload();
    succeeded(realm.auth(&["apply"]).await);
    eventually("the server has been told", || async {
        said(&doctor(&realm).await, "identities")[0] == "ok"
    })
    .await;

    // An agent that is taken out leaves its consumers; what is no lane at all is an orphan also without the folder.
    succeeded(realm.auth(&["agent", "remove", "boss"]).await);
    let admin = realm.client("admin").await;
    let commands = admin.jetstream().get_stream("mcp_commands").await?;
    let stray = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("stray".to_owned()),
        filter_subject: "mcp.cmd.nobody.normal.>".to_owned(),
        ..Default::default()
    };
    commands.create_consumer(stray).await?;
    realm.cluster.reload();
    let report = doctor(&realm).await;
    for (stream, left) in [
        ("mcp_commands", "boss_critical"),
        ("mcp_events", "boss_evt_news"),
        ("mcp_tasks_0", "video_control"),
    ] {
        let [level, text, remedy] = said(&report, &format!("consumers of {stream}"));
        assert_eq!(level, "warn", "{report:#}");
        assert!(text.contains("of nobody") && text.contains(left), "{text}");
        assert!(
            remedy.contains(&format!("nats consumer rm {stream}")),
            "{remedy}"
        );
    }
    let [level, text, remedy] = said(&report, "consumer stray");
    assert!(
        level == "warn" && text.contains("no lane"),
        "{level} {text}"
    );
    assert!(
        remedy.contains("nats consumer rm mcp_commands stray"),
        "{remedy}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_without_events_says_how_subscribers_get_their_consumers_back() -> TestResult {
    let boss = ["boss", "--subscribe", "news=writer.made"];
    let realm = Realm::found(&[&boss, &["writer"]]).await;
    succeeded(as_admin(&realm, &["backup", "copy", "--no-events"]).await);
    // As on servers that are new.
    let admin = realm.client("admin").await;
    admin.jetstream().delete_stream("mcp_events").await?;
    let restored = succeeded(as_admin(&realm, &["restore", "copy", "--force"]).await);
    assert!(restored.stdout.contains("auth apply"), "{restored:?}");
    let report = doctor(&realm).await;
    let [_, text, _] = said(&report, "consumers of mcp_events");
    assert!(text.contains("missing: boss_evt_news"), "{text}");

    succeeded(as_admin(&realm, &["auth", "apply"]).await);
    let report = doctor(&realm).await;
    assert_eq!(says(&report, "consumers of mcp_events"), None, "{report:#}");
    Ok(())
}
