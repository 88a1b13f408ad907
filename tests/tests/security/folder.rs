//! `mcpctl auth` from outside: what it writes, what stays, and the rotation of a key.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use mcp_agent_sdk::{
    Client, Config,
    runtime::{ConnectError, Setup},
};
use mcp_tests::eventually;

use crate::realm::{Realm, TestResult, auth, succeeded};

/// Every file of a folder with what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.clone(), fs::read(path).expect("it can be read"))),
            }
        }
    }
    found
}

#[tokio::test]
async fn running_it_again_changes_nothing_and_nobody_else_may_read() -> TestResult {
    let folder = tempfile::tempdir()?;
    let all = [
        &["init", "--host", "nats-1"][..],
        &["agent", "add", "writer"],
        &[
            "agent",
            "add",
            "boss",
            "--commands",
            "writer",
            "--runs",
            "video",
            "--payloads",
        ],
    ];
    for order in all {
        succeeded(auth(&folder, "", order).await);
    }
    let made = files(folder.path());
    for order in all {
        succeeded(auth(&folder, "", order).await);
    }
    assert_eq!(files(folder.path()), made);
    for path in made.keys() {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    // Bad input says what to do.
    for (order, says) in [
        (&["agent", "add", "Writer"][..], "Writer"),
        (&["agent", "add", "admin"], "reserved"),
        (
            &["agent", "add", "a", "--subscribe", "news"],
            "NAME=SOURCE.EVENT",
        ),
        (&["show", "nobody"], "mcpctl auth show"),
        (&["rotate", "nobody"], "mcpctl auth show"),
        (
            &["agent", "add", "a", "--namespace", "other"],
            "auth init --namespace",
        ),
        (
            &["agent", "add", "a", "--client", "--runs", "w"],
            "--drives",
        ),
        (&["init", "--max-file", "2GB"], "20GiB"),
    ] {
        let refused = auth(&folder, "", order).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
    Ok(())
}

/// `a` with the subscription `b_evt_c`, and `a_evt_b` with `c`: one consumer.
#[tokio::test]
async fn subscriptions_that_would_share_a_consumer_are_refused() -> TestResult {
    let folder = tempfile::tempdir()?;
    succeeded(auth(&folder, "", &["init"]).await);
    let add = |name: &'static str, subscription: &'static str| {
        let order = ["agent", "add", name, "--subscribe", subscription];
        let folder = &folder;
        async move { auth(folder, "", &order).await }
    };
    succeeded(add("a", "b_evt_c=x.made").await);
    let made = files(folder.path());
    let refused = add("a_evt_b", "c=x.made").await;
    assert_eq!(refused.code, 2, "{refused:?}");
    for says in ["`a`", "`a_evt_b`", "`a_evt_b_evt_c`", "another name"] {
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
    }
    assert_eq!(files(folder.path()), made, "and nothing is left of it");
    succeeded(add("a_evt_b", "d=x.made").await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_is_in_use_until_it_is_forgotten() -> TestResult {
    let realm = Realm::found(&[&["writer"]]).await;
    let old = tempfile::tempdir()?;
    for file in ["user.nk", "ca.crt", "tls.crt", "tls.key", "identity"] {
        fs::copy(realm.identity("writer").join(file), old.path().join(file))?;
    }
    let with = |place: PathBuf| {
        let config = Config::new(realm.cluster.url()).name("writer").auth(place);
        Client::connect(config.setup(Setup::Assume))
    };
    succeeded(realm.auth(&["rotate", "writer"]).await);
    // The servers know nothing yet: whoever connects now still does.
    with(realm.identity("writer")).await?;
    let again = realm.auth(&["rotate", "writer"]).await;
    assert!(
        again.code == 2 && again.stderr.contains("--forget-old"),
        "{again:?}"
    );
    let next = tempfile::tempdir()?;
    for file in ["ca.crt", "tls.crt", "tls.key", "identity"] {
        fs::copy(realm.identity("writer").join(file), next.path().join(file))?;
    }
    let seed = realm.identity("writer").join("user-next.nk");
    fs::copy(seed, next.path().join("user.nk"))?;
    realm.cluster.reload();
    eventually("the new key is valid", || async {
        with(next.path().to_owned()).await.is_ok()
    })
    .await;
    let held = with(old.path().to_owned()).await?;

    succeeded(realm.auth(&["rotate", "writer", "--forget-old"]).await);
    // Before the second reload, the seed in use is the new one, and valid.
    with(realm.identity("writer")).await?;
    realm.cluster.reload();
    eventually("the old key is refused", || async {
        matches!(
            with(old.path().to_owned()).await,
            Err(ConnectError::Refused { .. })
        )
    })
    .await;
    // Whoever was connected with it is thrown out as well.
    eventually("the old connection is closed", || async {
        held.nats().connection_state() != async_nats::connection::State::Connected
    })
    .await;
    with(realm.identity("writer")).await?;
    Ok(())
}
