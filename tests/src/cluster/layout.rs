//! Ports and configurations of the servers of a cluster.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use super::links::Links;

/// What a cluster is to be like.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// The folder with accounts and certificates that `mcpctl auth` has made.
    pub(super) rights: Option<&'a Path>,
    /// Everything goes through proxies.
    pub(super) linked: bool,
    /// Where streams are stored, when not beside the configuration.
    pub(super) store: Option<&'a Path>,
}

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) http: u16,
    pub(super) route: u16,
}

impl Ports {
    /// Of so many servers. Held together until all are known, so that none is given out twice.
    pub(super) fn free(count: usize) -> Vec<Self> {
        let held: Vec<TcpListener> = (0..3 * count).map(|_| free_port()).collect();
        let port = |at: usize| held[at].local_addr().expect("it is bound").port();
        let of = |at: usize| Self {
            client: port(3 * at),
            http: port(3 * at + 1),
            route: port(3 * at + 2),
        };
        (0..count).map(of).collect()
    }
}

fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

/// Writes the configuration of one server.
pub(super) fn write(
    at: usize,
    ports: &[Ports],
    data: &Path,
    links: Option<&Links>,
    wanted: &Wanted<'_>,
) -> PathBuf {
    let Ports {
        client,
        http,
        route,
    } = ports[at];
    let store = wanted.store.unwrap_or(data).join(format!("n{at}"));
    let mut text = format!(
        "server_name: \"n{at}\"\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{http}\"\n\
         jetstream {{ store_dir: \"{}\", max_file_store: 4GB, max_memory_store: 256MB }}\n",
        store.display()
    );
    if let Some(links) = links {
        text += &format!(
            "client_advertise: \"127.0.0.1:{}\"\n",
            links.client_port(at)
        );
    }
    let mut more = String::new();
    if wanted.rights.is_some() {
        text += "include \"accounts.conf\"\ninclude \"tls.conf\"\n";
        more += "include \"cluster-tls.conf\"";
    }
    if ports.len() > 1 {
        let others = match links {
            Some(links) => {
                // Nobody listens there: what servers tell each other leads around no link.
                more += "advertise: \"127.0.0.1:1\"";
                links.route_ports(at)
            }
            None => ports.iter().map(|ports| ports.route).collect(),
        };
        let routes: Vec<String> = others
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        text += &format!(
            "cluster {{\n  name: \"tests\"\n  listen: \"127.0.0.1:{route}\"\n  routes: [{}]\n  {more}\n}}\n",
            routes.join(", ")
        );
    }
    // The server looks for what is included beside its configuration.
    let folder = wanted.rights.unwrap_or(data);
    let config = folder.join(format!("test-n{at}.conf"));
    fs::write(&config, text).expect("a configuration can be written");
    config
}
