//! `mcpctl dead`.

use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, run, spawn_probe};
use serde_json::{Value, json};

/// Submits a command that fails for good, and returns its id once it is among the dead letters.
async fn kill(url: &str, code: &str, options: &[&str]) -> String {
    let parameters = json!({ "key": code, "code": code }).to_string();
    let command = [
        "send",
        "probe",
        "fail",
        "-p",
        &parameters,
        "--submit",
        "--json",
    ];
    let retries = ["--retries", "1", "--base-delay", "1ms"];
    let submitted = run(url, &[&command[..], &retries, options].concat())
        .await
        .json();
    let id = submitted["command_id"].as_str().expect("an id").to_owned();
    eventually("it is dead", || async {
        list(url, &[])
            .await
            .iter()
            .any(|letter| letter["id"] == id.as_str())
    })
    .await;
    id
}

async fn list(url: &str, filters: &[&str]) -> Vec<Value> {
    let listed = run(url, &[&["dead", "list", "--json"], filters].concat()).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.json()["dead_letters"]
        .as_array()
        .expect("a list")
        .clone()
}

fn reasons(letters: &[Value]) -> Vec<&str> {
    letters
        .iter()
        .filter_map(|letter| letter["reason"].as_str())
        .collect()
}

#[tokio::test]
async fn letters_are_listed_by_filter_and_shown_with_their_autopsy() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let nothing = run(url, &["dead", "list"]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, ""),
        "{nothing:?}"
    );
    let id = kill(url, "GPU_BUSY", &[]).await;
    kill(url, "NO_LUCK", &[]).await;

    let check = async |filters: &[&str], expected: &[&str]| {
        assert_eq!(reasons(&list(url, filters).await), expected, "{filters:?}");
    };
    check(&[], &["GPU_BUSY", "NO_LUCK"]).await;
    check(&["--reason", "NO_LUCK"], &["NO_LUCK"]).await;
    check(
        &["--agent", "probe", "--action", "fail"],
        &["GPU_BUSY", "NO_LUCK"],
    )
    .await;
    check(&["--agent", "other"], &[]).await;
    check(&["--action", "echo"], &[]).await;
    check(&["--older-than", "1h"], &[]).await;
    let page = run(url, &["dead", "list", "--limit", "1", "--json"])
        .await
        .json();
    assert_eq!(page["more"], true, "{page}");

    let shown = run(url, &["dead", "show", "1", "--json"]).await;
    let letter = shown.json();
    assert_eq!(
        (
            &letter["id"],
            &letter["attempts"],
            &letter["original_subject"]
        ),
        (&json!(id), &json!(2), &json!("mcp.cmd.probe.normal.fail")),
        "{shown:?}"
    );
    assert_eq!(
        letter["errors"].as_array().map(Vec::len),
        Some(2),
        "of each attempt: {shown:?}"
    );
    assert_eq!(letter["headers"]["Mcp-Dead-Reason"], "GPU_BUSY");
    assert_eq!(letter["body"]["parameters"]["code"], "GPU_BUSY");
    let people = run(url, &["dead", "show", "1", "--no-body"]).await;
    for part in [
        "reason    GPU_BUSY",
        "error 1   GPU_BUSY",
        "error 2   GPU_BUSY",
        "  Mcp-Attempts: 2",
    ] {
        assert!(
            people.stdout.contains(part),
            "`{part}` is missing: {people:?}"
        );
    }
    assert!(!people.stdout.contains("\"parameters\""), "{people:?}");

    let none = run(url, &["dead", "show", "99"]).await;
    assert_eq!(none.code, 1, "{none:?}");
    assert!(
        none.stderr.contains("there is no dead letter 99"),
        "{none:?}"
    );
    let doctor = run(url, &["doctor"]).await;
    assert!(doctor.stdout.contains("mcpctl dead list"), "{doctor:?}");
}

#[tokio::test]
async fn redriven_letter_is_done_with_edited_parameters_and_leaves_the_list() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    let id = kill(url, "GPU_BUSY", &[]).await;

    let told = run(url, &["dead", "redrive", "1", "--dry-run", "--json"]).await;
    assert_eq!(
        told.json()["would_redrive"][0]["id"],
        id.as_str(),
        "{told:?}"
    );
    assert_eq!(list(url, &[]).await.len(), 1, "a dry run changes nothing");

    let redriven = run(
        url,
        &[
            "dead",
            "redrive",
            "1",
            "--set",
            "times=0",
            "--set",
            "key=new one",
        ],
    )
    .await;
    assert_eq!(redriven.code, 0, "{redriven:?}");
    assert_eq!(
        redriven.stdout,
        format!("redriven 1  probe.fail  GPU_BUSY  {id}\n")
    );
    assert_eq!(redriven.stderr, "1 dead letter redriven\n");
    assert_eq!(list(url, &[]).await.len(), 0);
    let outcome = run(
        url,
        &["outcome", "probe", "fail", &id, "--wait", "20s", "--json"],
    )
    .await;
    assert_eq!(
        (outcome.code, &outcome.json()["result"]),
        (0, &json!({ "calls": 1 })),
        "the edited parameters count: {outcome:?}"
    );
}

#[tokio::test]
async fn many_letters_are_redriven_or_deleted_by_filter() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let _probe = spawn_probe(url, &[]).await;
    for code in ["GPU_BUSY", "NO_LUCK", "GPU_BUSY", "NO_LUCK"] {
        kill(url, code, &[]).await;
    }
    let redriven = run(
        url,
        &[
            "dead", "redrive", "--reason", "GPU_BUSY", "--set", "times=0", "--json",
        ],
    )
    .await;
    let document = redriven.json();
    assert_eq!(
        (
            redriven.code,
            document["redriven"].as_array().map(Vec::len),
            &document["failed"]
        ),
        (0, Some(2), &json!([])),
        "{redriven:?}"
    );
    assert_eq!(
        document["redriven"][0]["subject"],
        "mcp.cmd.probe.normal.fail"
    );
    assert_eq!(reasons(&list(url, &[]).await), ["NO_LUCK", "NO_LUCK"]);

    let dry = run(url, &["dead", "delete", "--all", "--dry-run"]).await;
    assert_eq!(
        (dry.code, dry.stderr.as_str()),
        (0, "2 dead letters would be deleted\n"),
        "{dry:?}"
    );
    let one = run(url, &["dead", "delete", "2"]).await;
    assert_eq!(
        (one.code, one.stderr.as_str()),
        (0, "1 dead letter deleted\n"),
        "{one:?}"
    );
    let all = run(url, &["dead", "delete", "--all", "--json"]).await;
    assert_eq!(
        all.json()["deleted"].as_array().map(Vec::len),
        Some(1),
        "{all:?}"
    );
    assert_eq!(list(url, &[]).await.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_redriven_stays_and_is_exit_code_1() {
    let broker = TestBroker::start().await.unwrap();
    let url = broker.url();
    let client = broker.client().await.unwrap();
    // A foreign peer's letter, which does not say where it was addressed.
    let published = client
        .jetstream()
        .publish("mcp.dead.probe.fail", "".into())
        .await
        .unwrap();
    published.await.unwrap();
    let failed = run(url, &["dead", "redrive", "--all", "--json"]).await;
    assert_eq!(
        (failed.code, &failed.json()["failed"][0]["sequence"]),
        (1, &json!(1)),
        "{failed:?}"
    );
    assert!(
        failed.stderr.contains("0 dead letters redriven, 1 not"),
        "{failed:?}"
    );
    assert_eq!(list(url, &[]).await.len(), 1);
}

#[tokio::test]
async fn everything_must_be_said_and_not_meant() {
    for arguments in [
        &["dead", "redrive"][..],
        &["dead", "delete"],
        &["dead", "redrive", "1", "--all"],
        &["dead", "delete", "1", "--reason", "X"],
        &["dead", "delete", "--all", "--agent", "probe"],
        &["dead", "redrive", "1", "--set", "quality"],
    ] {
        let refused = run("", arguments).await;
        assert_eq!(refused.code, 2, "{refused:?}");
    }
}
