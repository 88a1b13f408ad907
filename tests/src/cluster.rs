//! Real nats-servers as real processes: one, or a cluster of three on loopback, with or without the rights that `mcpctl auth`
//! has written. Each can be stopped, killed, paused and started again; dropping them kills them.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{PATIENCE, eventually, nats_server};

/// How long one look at a server's health may take.
const LOOK: Duration = Duration::from_secs(1);

/// The servers, and their data.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    /// Whether clients need TLS.
    tls: bool,
    // After the servers: their files must not vanish below them.
    _data: TempDir,
}

#[derive(Debug)]
struct Server {
    config: PathBuf,
    log: PathBuf,
    port: u16,
    http: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts so many servers without any rights.
    pub async fn start(servers: usize) -> Self {
        Self::launch(servers, None).await
    }

    /// Starts so many servers with the accounts and certificates in the folder `server` that `mcpctl auth` has made.
    pub async fn start_secured(servers: usize, folder: &Path) -> Self {
        Self::launch(servers, Some(folder)).await
    }

    async fn launch(count: usize, rights: Option<&Path>) -> Self {
        let data = tempfile::Builder::new().prefix("mcp-cluster-").tempdir();
        let data = data.expect("a temporary folder can be made");
        // Held together until all are known, so that none is given out twice.
        let ports: Vec<TcpListener> = (0..3 * count).map(|_| free_port()).collect();
        let port = |at: usize| ports[at].local_addr().expect("it is bound").port();
        let routes: Vec<String> = (0..count)
            .map(|at| format!("\"nats://127.0.0.1:{}\"", port(3 * at + 2)))
            .collect();
        let mut servers = Vec::new();
        for at in 0..count {
            let (client, http, route) = (port(3 * at), port(3 * at + 1), port(3 * at + 2));
            let store = data.path().join(format!("n{at}"));
            let mut text = format!(
                "server_name: \"n{at}\"\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{http}\"\n\
                 jetstream {{ store_dir: \"{}\", max_file_store: 4GB, max_memory_store: 256MB }}\n",
                store.display()
            );
            let tls = match rights {
                Some(_) => {
                    text += "include \"accounts.conf\"\ninclude \"tls.conf\"\n";
                    "include \"cluster-tls.conf\""
                }
                None => "",
            };
            if count > 1 {
                text += &format!(
                    "cluster {{\n  name: \"tests\"\n  listen: \"127.0.0.1:{route}\"\n  routes: [{}]\n  {tls}\n}}\n",
                    routes.join(", ")
                );
            }
            // The server looks for what is included beside its configuration.
            let config = rights
                .unwrap_or(data.path())
                .join(format!("test-n{at}.conf"));
            fs::write(&config, text).expect("a configuration can be written");
            servers.push(Server {
                config,
                log: data.path().join(format!("n{at}.log")),
                port: client,
                http,
                child: None,
            });
        }
        drop(ports);
        let tls = rights.is_some_and(|folder| {
            fs::read_to_string(folder.join("tls.conf")).is_ok_and(|text| text.contains("cert_file"))
        });
        let mut cluster = Self {
            servers,
            tls,
            _data: data,
        };
        for at in 0..count {
            cluster.spawn(at).await;
        }
        for at in 0..count {
            cluster.healthy(at).await;
        }
        cluster
    }

    /// The servers' addresses for clients, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls = self.servers.iter().map(|server| self.url_at(server.port));
        urls.collect::<Vec<_>>().join(",")
    }

    fn url_at(&self, port: u16) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.servers.len()
    }

    /// The process id of a server that runs.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self, at: usize) -> u32 {
        let child = self.servers[at].child.as_ref();
        child.and_then(Child::id).expect("the server runs")
    }

    /// What a server has logged.
    #[must_use]
    pub fn log(&self, at: usize) -> String {
        fs::read_to_string(&self.servers[at].log).unwrap_or_default()
    }

    /// Lets the servers read their configuration again, after `mcpctl auth` has changed it.
    pub fn reload(&self) {
        (0..self.size()).for_each(|at| self.signal(at, Signal::HUP));
    }

    /// Sends a server a signal.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, at: usize, signal: Signal) {
        let pid = Pid::from_raw(self.pid(at).cast_signed()).expect("a process id is not zero");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Ends a server with a signal (TERM as an operator would, KILL as a crash would) and waits until it is gone.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(&mut self, at: usize, signal: Signal) {
        self.signal(at, signal);
        let mut child = self.servers[at].child.take().expect("the server runs");
        let ended = timeout(PATIENCE, child.wait()).await;
        ended
            .expect("the server ends")
            .expect("a child can be waited for");
    }

    /// Starts a server that was ended, and waits until it has caught up with the others.
    pub async fn revive(&mut self, at: usize) {
        self.spawn(at).await;
        self.healthy(at).await;
    }

    /// Replaces every server, one after the other, as a rolling update does.
    pub async fn roll(&mut self) {
        for at in 0..self.size() {
            self.end(at, Signal::TERM).await;
            self.revive(at).await;
        }
    }

    async fn spawn(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let log = File::options().create(true).append(true).open(&server.log);
        let mut command = Command::new(nats_server().await);
        command
            .arg("-c")
            .arg(&server.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be opened"))
            .kill_on_drop(true);
        server.child = Some(command.spawn().expect("nats-server can be run"));
    }

    /// Waits until a server says of itself that it is up, part of the cluster and up to date.
    async fn healthy(&mut self, at: usize) {
        let (http, log) = (self.servers[at].http, self.servers[at].log.clone());
        let mut child = self.servers[at].child.take().expect("the server runs");
        eventually("a server is healthy", || {
            let ended = child.try_wait().ok().flatten();
            assert!(
                ended.is_none(),
                "a server has ended: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            async move { timeout(LOOK, is_healthy(http)).await.unwrap_or(false) }
        })
        .await;
        self.servers[at].child = Some(child);
    }
}

fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

async fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let request = b"GET /healthz HTTP/1.0\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.is_ok() && answer.starts_with("HTTP/1.0 200")
}
