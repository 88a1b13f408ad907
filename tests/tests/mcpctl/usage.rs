//! Bad usage: exit code 2, before anything is connected to.

use mcp_tests::run;

use crate::dead_url;

#[tokio::test]
async fn bad_usage_is_told_from_an_absent_server() {
    let url = dead_url().await;
    let check = async |arguments: &[&str], part: &str| {
        let finished = run(&url, arguments).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(
            finished.stderr.contains(part),
            "`{part}` is missing: {finished:?}"
        );
        assert_eq!(finished.stdout, "", "errors go to stderr");
    };
    check(&["fly"], "unrecognized subcommand").await;
    check(&["send", "probe"], "<ACTION>").await;
    check(
        &["send", "probe", "echo", "-p", "{\"a\": }"],
        "line 1 column 7",
    )
    .await;
    check(&["send", "probe", "echo", "-p", "Ada"], "-p '\"Ada\"'").await;
    check(
        &["send", "probe", "echo", "-f", "/no/such/file"],
        "cannot read /no/such/file",
    )
    .await;
    check(
        &["send", "probe", "echo", "-p", "1", "-f", "x"],
        "cannot be used with",
    )
    .await;
    check(
        &["send", "probe", "echo", "--priority", "urgent"],
        "critical, high, normal or low",
    )
    .await;
    check(&["send", "probe", "echo", "--timeout", "soon"], "--timeout").await;
    let send = |options: &[&'static str]| [&["send", "probe", "echo"], options].concat();
    check(
        &send(&["--base-delay", "10s"]),
        "--max-delay is 5s, but must be from --base-delay to 24 h",
    )
    .await;
    check(
        &send(&["--jitter", "2"]),
        "--jitter is 2.0, but must be from 0 to 1",
    )
    .await;
    check(&send(&["--submit", "--realtime"]), "cannot be used with").await;
    check(&send(&["--wait", "1s"]), "--submit").await;
    check(&["messages", "list", "--state", "lost"], "in-flight").await;
    check(&["messages", "list", "--agent", "Not A Name"], "--agent").await;
    check(&["events", "publish", "Not A Name"], "not a valid name").await;
    check(
        &["events", "tail", "--since", "yesterday"],
        "use `new`, `all`",
    )
    .await;
    check(&["--namespace", "Bad", "agents"], "namespace").await;
    check(
        &["--server", "no address", "agents"],
        "no address of a server",
    )
    .await;
    check(&["new", "Not A Name"], "not a valid name").await;
    check(
        &["demo", "--studio", "/no/such/studio"],
        "cargo build -p video-studio",
    )
    .await;
    check(&["demo", "--output", "film.avi"], ".mp4").await;
}

#[tokio::test]
async fn bad_usage_is_one_document_with_json() {
    let url = dead_url().await;
    for arguments in [
        &["--json", "fly"][..],
        &["send", "--json"],
        &["--json", "send", "probe", "echo", "-p", "{"],
    ] {
        let finished = run(&url, arguments).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert_eq!(finished.json()["error"]["code"], "USAGE", "{finished:?}");
        assert_ne!(finished.stderr, "", "people are told too");
    }
}

#[tokio::test]
async fn help_is_no_error() {
    let finished = run("", &["--help"]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for command in [
        "dev", "setup", "doctor", "probe", "send", "outcome", "cancel", "explain", "messages",
        "dead", "events", "agents", "demo", "new",
    ] {
        assert!(
            finished.stdout.contains(&format!("\n  {command} ")),
            "{command} is missing in the help"
        );
    }
}
