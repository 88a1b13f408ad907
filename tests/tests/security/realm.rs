//! A secured server with the identities of a test.

use std::path::PathBuf;

use async_nats::{ConnectOptions, Event};
use mcp_agent_sdk::{Client, Config, runtime::Setup};
use mcp_tests::{Cluster, Finished, run_in};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// What the server says to one connection, at most.
const SAID: usize = 1_024;

/// A folder of `mcpctl auth` and a server with it.
pub(crate) struct Realm {
    pub(crate) cluster: Cluster,
    pub(crate) folder: TempDir,
}

impl Realm {
    /// Makes the folder, runs these `mcpctl auth` commands in it, starts a server and creates what the identities need.
    pub(crate) async fn found(identities: &[&[&str]]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        succeeded(auth(&folder, "", &["init"]).await);
        for identity in identities {
            let add = [&["agent", "add"], *identity].concat();
            succeeded(auth(&folder, "", &add).await);
        }
        let cluster = Cluster::start_secured(1, &folder.path().join("auth/server")).await;
        let realm = Self { cluster, folder };
        succeeded(realm.auth(&["apply"]).await);
        realm
    }

    /// Runs `mcpctl auth` against the server.
    pub(crate) async fn auth(&self, arguments: &[&str]) -> Finished {
        auth(&self.folder, &self.cluster.url(), arguments).await
    }

    /// The folder of one identity.
    pub(crate) fn identity(&self, name: &str) -> PathBuf {
        self.folder.path().join("auth/identities/mcp").join(name)
    }

    pub(crate) fn config(&self, name: &str) -> Config {
        Config::new(self.cluster.url())
            .name(name)
            .auth(self.identity(name))
            .setup(Setup::Assume)
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        let connected = Client::connect(self.config(name)).await;
        connected.unwrap_or_else(|error| panic!("{name} cannot connect: {error:?}"))
    }

    /// A bare connection with the identity's credentials, and what the server says to it.
    pub(crate) async fn bare(&self, name: &str) -> (async_nats::Client, mpsc::Receiver<String>) {
        let place = self.identity(name);
        let seed = std::fs::read_to_string(place.join("user.nk")).expect("there is a seed");
        let (said, hears) = mpsc::channel(SAID);
        let connected = ConnectOptions::with_nkey(seed.trim().to_owned())
            .add_root_certificates(place.join("ca.crt"))
            .add_client_certificate(place.join("tls.crt"), place.join("tls.key"))
            .require_tls(true)
            .custom_inbox_prefix(format!("_INBOX_{name}"))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    let _ = said.try_send(error.to_string());
                }
                std::future::ready(())
            })
            .connect(self.cluster.url())
            .await;
        (connected.expect("the identity can connect"), hears)
    }
}

pub(crate) async fn auth(folder: &TempDir, url: &str, arguments: &[&str]) -> Finished {
    run_in(folder.path(), url, &[&["auth"], arguments].concat()).await
}

pub(crate) fn succeeded(finished: Finished) -> Finished {
    assert_eq!(finished.code, 0, "{finished:?}");
    finished
}
