//! `/livez`, `/readyz` and `/metrics`, for whoever watches the process from outside.
//!
//! A thread of its own answers, so that there is an answer also when the agent's threads are all taken; with bounds
//! for everything a stranger could make it do. It is not a web server: `GET` and `HEAD` of three paths.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mcp_runtime::telemetry::{HUNG_AFTER, Health};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Figures;

/// Requests that are answered at once; others wait in the system's queue.
const MOST_CONNECTIONS: usize = 32;

/// What a request line with its headers may take.
const MOST_REQUEST_BYTES: usize = 8 * 1024;

/// From the connection to the end of the answer.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The pause after a connection that could not be taken, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two turns that the event loop proves.
const TURN: Duration = Duration::from_secs(1);

/// What is served, for as long as this value lives.
pub(crate) struct Probes {
    watched: Arc<Watched>,
    address: SocketAddr,
    _stop: DropGuard,
}

struct Watched {
    since: Instant,
    turned_ms: AtomicU64,
    health: OnceLock<Health>,
    figures: Option<Arc<Figures>>,
}

struct Response {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Probes {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn serve(address: SocketAddr, figures: Option<Arc<Figures>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let watched = Arc::new(Watched {
            since: Instant::now(),
            turned_ms: AtomicU64::new(0),
            health: OnceLock::new(),
            figures,
        });
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (answering, stopped) = (Arc::clone(&watched), stop.clone());
        thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                runtime.block_on(stopped.run_until_cancelled(answer_all(listener, answering)))
            })?;
        tokio::spawn(turn(Arc::clone(&watched), stop.clone()));
        Ok(Self {
            watched,
            address,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is ready when this instance is.
    pub(crate) fn watch(&self, health: Health) {
        let _ = self.watched.health.set(health);
    }
}

/// Proves that the agent's own event loop turns.
async fn turn(watched: Arc<Watched>, stop: CancellationToken) {
    let mut turns = interval(TURN);
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        watched.turned_ms.store(watched.now_ms(), Ordering::Relaxed);
    }
}

async fn answer_all(listener: TcpListener, watched: Arc<Watched>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let watched = Arc::clone(&watched);
                tokio::spawn(async move {
                    // Whoever is too slow or goes away gets no answer, and nobody misses it.
                    let _ = timeout(REQUEST_TIME, answer(stream, &watched)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, watched: &Watched) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        if request.len() >= MOST_REQUEST_BYTES {
            return Response::text("431 Request Header Fields Too Large", "too large\n")
                .send(&mut stream, true)
                .await;
        }
        let room = (MOST_REQUEST_BYTES - request.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next());
    let response = match (method, path) {
        ("GET" | "HEAD", Some(path)) => watched.respond(path),
        (_, None) => Response::text("400 Bad Request", "no request\n"),
        _ => Response::text("405 Method Not Allowed", "only GET\n"),
    };
    response.send(&mut stream, method != "HEAD").await
}

impl Watched {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn respond(&self, path: &str) -> Response {
        match path.split('?').next() {
            Some("/livez") => self.live(),
            Some("/readyz") => match self.health.get().map(Health::not_ready) {
                None => Response::text("503 Service Unavailable", "starting\n"),
                Some(None) => Response::text("200 OK", "ready\n"),
                Some(Some(reason)) => {
                    Response::text("503 Service Unavailable", format!("{reason}\n"))
                }
            },
            Some("/metrics") => Response {
                status: "200 OK",
                kind: "text/plain; version=0.0.4; charset=utf-8",
                body: self
                    .figures
                    .as_ref()
                    .map(|all| all.text())
                    .unwrap_or_default(),
            },
            _ => Response::text("404 Not Found", "there are /livez, /readyz and /metrics\n"),
        }
    }

    /// By the measure that gives the signs of life up, so that nobody restarts what still counts as alive. Never asks the server: an agent that waits for it is alive, and a restart would not help.
    fn live(&self) -> Response {
        let turned_ms = self.turned_ms.load(Ordering::Relaxed);
        let still = Duration::from_millis(self.now_ms().saturating_sub(turned_ms));
        match still < HUNG_AFTER {
            true => Response::text("200 OK", "alive\n"),
            false => Response::text(
                "503 Service Unavailable",
                format!("the event loop has not turned for {} s\n", still.as_secs()),
            ),
        }
    }
}

impl Response {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    async fn send(self, stream: &mut TcpStream, with_body: bool) -> io::Result<()> {
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.kind,
            self.body.len()
        );
        if with_body {
            bytes.push_str(&self.body);
        }
        stream.write_all(bytes.as_bytes()).await?;
        stream.shutdown().await
    }
}
