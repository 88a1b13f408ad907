//! A cell at work: servers, agents, senders and the history that they write.

use std::{sync::Arc, time::Duration};

use mcp_agent_sdk::{Client, Config};
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    Failed,
    cells::{Cell, Extent, Fault},
    chain,
    crew::Crew,
    history::{History, Recorder},
    load::{Load, Mix},
    servers::Servers,
};

/// As long as anybody has to wait for progress.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Scene {
    pub(super) cell: Cell,
    pub(super) seed: u64,
    pub(super) extent: Extent,
    /// Decides when a fault strikes whom.
    pub(super) random: StdRng,
    pub(super) recorder: Arc<Recorder>,
    pub(super) crew: Crew,
    pub(super) mix: Mix,
    load: Option<Load>,
    pub(super) servers: Servers,
    // Last: what the agents write lies in it.
    _folder: TempDir,
}

impl Scene {
    pub(super) async fn new(cell: Cell, seed: u64, extent: Extent) -> Result<Self, Failed> {
        let servers = match cell.fault {
            Fault::DiskFull => Servers::start_on_a_small_disk(cell.servers).await?,
            _ => Servers::start(cell.servers).await,
        };
        let folder = tempfile::tempdir()?;
        let recorder = Arc::new(Recorder::default());
        let mut crew = Crew::new(
            &servers.url(),
            folder.path().join("effects"),
            Arc::clone(&recorder),
        );
        let replicas = ("MCP_REPLICAS".to_owned(), servers.count().to_string());
        crew.environment.push(replicas);
        // Whoever comes first creates the streams; the senders are not to wait for that.
        let first = Config::new(servers.url()).name("observer");
        Client::connect(first.topology(servers.topology())).await?;
        Ok(Self {
            cell,
            seed,
            extent,
            random: StdRng::seed_from_u64(seed.rotate_left(17)),
            recorder,
            crew,
            mix: Mix {
                patience: extent.patience(),
                ..Mix::default()
            },
            load: None,
            servers,
            _folder: folder,
        })
    }

    /// A client that only looks.
    pub(super) async fn client(&self) -> Result<Client, Failed> {
        let config = Config::new(self.servers.url()).name("observer");
        let config = config.topology(self.servers.topology());
        let give_up = Instant::now() + HEALED_WITHIN;
        loop {
            match Client::connect(config.clone()).await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() >= give_up => return Err(error.into()),
                Err(error) => eprintln!("    the observer: {}", chain(&error)),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// So many agents, and the senders.
    pub(super) async fn begin(&mut self, agents: usize) -> Result<(), Failed> {
        for _ in 0..agents {
            self.crew.join().await?;
        }
        self.load().await
    }

    /// The senders.
    pub(super) async fn load(&mut self) -> Result<(), Failed> {
        let config = Config::new(self.servers.url()).topology(self.servers.topology());
        let load = Load::begin(&config, self.seed, self.mix, &self.recorder).await?;
        self.load = Some(load);
        Ok(())
    }

    /// Lets the load go on undisturbed for a while.
    pub(super) async fn settle(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Ends the load; what it has begun comes to its end.
    pub(super) async fn rest(&mut self) {
        if let Some(load) = self.load.take() {
            load.end(&self.recorder).await;
        }
    }

    /// Ends the agents, and says what happened.
    pub(super) async fn close(mut self) -> History {
        self.crew.must_live();
        while !self.crew.members.is_empty() {
            self.crew.dismiss(0).await;
        }
        self.recorder.so_far()
    }
}
