//! A TCP proxy of our own: a link between two processes that can be slow, lossy, stalling, silent or cut.
//!
//! It works on what TCP shows of a bad network, not on packets: what is lost comes later, what is black-holed comes
//! when the hole is gone, and nothing is ever out of order. Needs no rights, so it runs wherever the tests do.

use std::{io, net::SocketAddr, time::Duration};

use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// What goes through at once.
const CHUNK: usize = 16 * 1024;

/// Connections of one link at once: far above what a cell opens, and the bound of its tasks.
const MOST_CONNECTIONS: usize = 1_000;

/// How long TCP waits before it sends again what was lost, at first.
const RESENT_AFTER: Duration = Duration::from_millis(200);

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// Each chunk takes up to so long.
    Slow(Duration),
    /// So many of a hundred chunks are lost, and sent again.
    Lossy(u32),
    /// Each chunk may be followed by a silence of up to so long, one in fifty.
    Stalling(Duration),
    /// Nothing passes in either direction, and nobody is told: a black hole.
    Silent,
    /// Connections are closed and new ones are closed at once.
    Cut,
}

/// A link; dropping it closes everything that goes through it.
#[derive(Debug)]
pub struct Link {
    port: u16,
    weather: watch::Sender<Weather>,
    task: AbortHandle,
}

impl Link {
    /// Listens on a port of its own for connections to `target`, which may come up later.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::Fair);
        let task = tokio::spawn(accept(listener, target, seen)).abort_handle();
        Ok(Self {
            port,
            weather,
            task,
        })
    }

    /// Where to connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes how it is, for what is open too.
    pub fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((near, _)) = listener.accept().await else {
            return;
        };
        if *weather.borrow() != Weather::Cut && connections.len() < MOST_CONNECTIONS {
            connections.spawn(connection(near, target, weather.clone()));
        }
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    passable(&mut weather.clone()).await;
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    // What the two ends say to each other is small; neither would wait for more.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pump(near_in, far_out, weather.clone()) => {}
        _ = pump(far_in, near_out, weather.clone()) => {}
        _ = weather.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

/// One direction, until either end closes it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        let now = *weather.borrow();
        sleep(takes(now)).await;
        // Also an end is not heard through a black hole.
        passable(&mut weather).await;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

/// How long a chunk is under way.
fn takes(weather: Weather) -> Duration {
    let mut random = rand::rng();
    match weather {
        Weather::Slow(most) => random.random_range(most / 4..=most),
        Weather::Stalling(most) if random.random_ratio(1, 50) => {
            random.random_range(most / 4..=most)
        }
        Weather::Lossy(percent) => {
            let mut waits = Duration::ZERO;
            // Each loss in a row doubles the wait, as TCP does; four in a row are enough.
            for n in 0..4 {
                if !random.random_ratio(percent.min(100), 100) {
                    break;
                }
                waits += RESENT_AFTER * 2_u32.pow(n);
            }
            waits
        }
        _ => Duration::ZERO,
    }
}

async fn passable(weather: &mut watch::Receiver<Weather>) {
    // An error says that the link is gone, and its task with it.
    let _ = weather
        .wait_for(|weather| *weather != Weather::Silent)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) -> bool {
        let mut heard = vec![0; text.len()];
        let both = async {
            stream.write_all(text).await?;
            stream.read_exact(&mut heard).await
        };
        let both = timeout(Duration::from_millis(300), both).await;
        matches!(both, Ok(Ok(_))) && heard == text
    }

    #[tokio::test]
    async fn a_silent_link_holds_everything_back_until_it_is_fair_again() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", link.port()))
            .await
            .unwrap();
        assert!(says(&mut stream, b"one").await);
        link.turns(Weather::Silent);
        assert!(!says(&mut stream, b"two").await);
        link.turns(Weather::Fair);
        let mut late = [0; 3];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"two");
    }

    #[tokio::test]
    async fn a_cut_link_closes_what_is_open_and_what_comes() {
        let link = Link::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", link.port()))
            .await
            .unwrap();
        assert!(says(&mut stream, b"one").await);
        link.turns(Weather::Cut);
        assert!(!says(&mut stream, b"two").await);
        let mut second = TcpStream::connect(("127.0.0.1", link.port()))
            .await
            .unwrap();
        assert!(!says(&mut second, b"three").await);
        link.turns(Weather::Slow(Duration::from_millis(20)));
        let mut third = TcpStream::connect(("127.0.0.1", link.port()))
            .await
            .unwrap();
        assert!(says(&mut third, b"four").await);
    }
}
