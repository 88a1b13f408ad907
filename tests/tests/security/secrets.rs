//! Seeds, private keys and passwords appear in no output: they are planted where they can leak, and searched for.

use std::fs;

use mcp_tests::{Finished, OtlpSink, run_in, spawn_probe_with};
use tempfile::TempDir;

use crate::realm::{Realm, TestResult, auth, succeeded};

/// In the server's address, where people put them.
const PASSWORD: &str = "hunter2-PLANTED";

/// What must not appear: every seed and every line of every private key of the folder, and the password.
fn secrets(realm: &Realm) -> Vec<String> {
    let mut found = vec![PASSWORD.to_owned()];
    let mut folders = vec![realm.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".nk") || name.ends_with(".key") {
                let text = fs::read_to_string(path).expect("it can be read");
                let lines = text.lines().filter(|line| !line.starts_with("-----"));
                found.extend(lines.map(|line| line.trim().to_owned()));
            }
        }
    }
    found.retain(|secret| !secret.is_empty());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_has_a_secret() -> TestResult {
    let realm = Realm::found(&[
        &["probe", "--runs", "probe_pipeline"],
        &["desk", "--client", "--commands", "probe"],
    ])
    .await;
    let sink = OtlpSink::start().await;
    let url = realm.cluster.url();
    let with_password = url.replace("://", &format!("://someone:{PASSWORD}@"));
    let admin = realm.identity("admin");
    let admin = admin.to_str().expect("the path is text");
    let probe_auth = realm.identity("probe");
    let mut probe = spawn_probe_with(
        &with_password,
        &["--server", &with_password],
        &[
            ("MCP_AUTH", probe_auth.to_str().expect("the path is text")),
            ("MCP_LOG", "trace"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ],
    )
    .await;
    let mut said = Vec::new();
    let mut note = |finished: Finished| said.push(finished.stdout + &finished.stderr);
    let here = TempDir::new()?;
    let mcpctl = async |arguments: &[&str]| {
        run_in(
            here.path(),
            &with_password,
            &[arguments, &["--json"]].concat(),
        )
        .await
    };
    for order in [
        &["auth", "show"][..],
        &["auth", "show", "probe"],
        &["auth", "rotate", "desk"],
        &["auth", "init"],
        &[
            "auth",
            "agent",
            "add",
            "desk",
            "--client",
            "--commands",
            "probe",
        ],
    ] {
        for form in [&[][..], &["--json"]] {
            let order_in_form = [&order[1..], form].concat();
            note(succeeded(
                auth(&realm.folder, &with_password, &order_in_form).await,
            ));
            if order[1] == "rotate" {
                note(succeeded(
                    auth(&realm.folder, "", &["rotate", "desk", "--forget-old"]).await,
                ));
            }
        }
    }
    // Refused, because nothing says who it is, or because it is somebody unknown: errors with the address in them.
    for order in [
        &["agents"][..],
        &["doctor"],
        &["setup"],
        &["send", "probe", "echo"],
    ] {
        note(mcpctl(order).await);
    }
    let stranger = here.path().join("stranger.nk");
    fs::write(&stranger, "SUAPLANTEDPLANTEDPLANTED")?;
    let creds = stranger.to_str().expect("the path is text");
    note(mcpctl(&["agents", "--creds", creds]).await);
    let secrets = secrets(&realm);
    assert!(secrets.len() > 10, "{}", secrets.len());

    // With the identity, what an operator sees.
    let doctor = run_with(&realm, admin, &["doctor", "--json"]).await;
    let agents = run_with(&realm, admin, &["agents", "--json"]).await;
    assert!(agents.stdout.contains("probe"), "{agents:?}");
    let sent = run_with(&realm, admin, &["send", "probe", "echo", "-p", "{}"]).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    [doctor, agents, sent].into_iter().for_each(&mut note);
    probe.terminate().await;
    said.push(probe.stdout() + &probe.stderr());
    said.push(String::from_utf8_lossy(&sink.bytes()).into_owned());
    said.push(realm.cluster.log(0));
    said.push(fs::read_to_string(
        realm.folder.path().join("auth/auth.json"),
    )?);
    said.push(fs::read_to_string(
        realm.folder.path().join("auth/server/accounts.conf"),
    )?);
    for text in &said {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is in:\n{text}");
        }
        assert!(!text.contains("SUAPLANTED"), "a seed is in:\n{text}");
    }
    Ok(())
}

async fn run_with(realm: &Realm, identity: &str, arguments: &[&str]) -> Finished {
    mcp_tests::run_with(
        realm.folder.path(),
        &realm.cluster.url(),
        arguments,
        &[("MCP_AUTH", identity)],
    )
    .await
}
