//! Real nats-servers as real processes: one, or a cluster of three on loopback, with or without the rights that `mcpctl auth`
//! has written. Each can be stopped, killed, paused and started again; dropping them kills them.

mod layout;
mod links;

use std::{
    fs::{self, File},
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

use crate::{PATIENCE, eventually, nats_server, proxy::Weather};

use layout::{Ports, Wanted};
use links::Links;

/// How long one look at a server's health may take.
const LOOK: Duration = Duration::from_secs(1);

/// The servers, and their data.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    links: Option<Links>,
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
        Self::launch(servers, &Wanted::default()).await
    }

    /// Starts so many servers with the accounts and certificates in the folder `server` that `mcpctl auth` has made.
    pub async fn start_secured(servers: usize, folder: &Path) -> Self {
        let wanted = Wanted {
            rights: Some(folder),
            ..Wanted::default()
        };
        Self::launch(servers, &wanted).await
    }

    /// Starts so many servers whose links can be made slow, silent or cut, and that store their streams in `store`.
    pub async fn start_linked(servers: usize, store: Option<&Path>) -> Self {
        let wanted = Wanted {
            linked: true,
            store,
            ..Wanted::default()
        };
        Self::launch(servers, &wanted).await
    }

    async fn launch(count: usize, wanted: &Wanted<'_>) -> Self {
        let data = tempfile::Builder::new().prefix("mcp-cluster-").tempdir();
        let data = data.expect("a temporary folder can be made");
        let ports = Ports::free(count);
        let links = match wanted.linked {
            true => {
                let clients: Vec<u16> = ports.iter().map(|ports| ports.client).collect();
                let routes: Vec<u16> = ports.iter().map(|ports| ports.route).collect();
                Some(Links::to(&clients, &routes).await)
            }
            false => None,
        };
        let server = |at: usize| Server {
            config: layout::write(at, &ports, data.path(), links.as_ref(), wanted),
            log: data.path().join(format!("n{at}.log")),
            port: (links.as_ref()).map_or(ports[at].client, |links| links.client_port(at)),
            http: ports[at].http,
            child: None,
        };
        let servers = (0..count).map(server).collect();
        let tls = wanted.rights.is_some_and(|folder| {
            fs::read_to_string(folder.join("tls.conf")).is_ok_and(|text| text.contains("cert_file"))
        });
        let mut cluster = Self {
            servers,
            links,
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

    /// Changes the links between a server and the others.
    ///
    /// # Panics
    /// When the servers were started without links.
    pub fn around(&self, at: usize, weather: Weather) {
        self.links().around(at, weather);
    }

    /// Changes the links between clients and a server.
    ///
    /// # Panics
    /// When the servers were started without links.
    pub fn before(&self, at: usize, weather: Weather) {
        self.links().clients(at, weather);
    }

    fn links(&self) -> &Links {
        self.links.as_ref().expect("started with links")
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

    /// What a server says at a path of its monitoring, such as `varz`.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub async fn monitoring(&self, at: usize, path: &str) -> std::io::Result<serde_json::Value> {
        let answer = monitoring(self.servers[at].http, path).await?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        Ok(serde_json::from_str(body)?)
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

    /// Starts all servers after all were ended: none is healthy alone.
    pub async fn revive_all(&mut self) {
        for at in 0..self.size() {
            self.spawn(at).await;
        }
        for at in 0..self.size() {
            self.healthy(at).await;
        }
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

/// What the server says about itself at a path of its monitoring.
async fn monitoring(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET /{path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn is_healthy(port: u16) -> bool {
    let answer = monitoring(port, "healthz").await;
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
}
