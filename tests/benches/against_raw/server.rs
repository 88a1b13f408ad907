//! The server of a group of rows: its own, fresh, on a free port of loopback, its data in a temporary folder.

use mcp_agent_sdk::{Client, Config, LocalServer, TestBroker, runtime::topology::TopologyConfig};

use crate::Failed;

/// What an acknowledged publish means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It is in the page cache: a power cut can lose it, a killed server does not. The server's default.
    Cached,
    /// It is on the disk.
    Always,
}

/// A private server.
pub(crate) struct Server {
    broker: TestBroker,
}

impl Server {
    pub(crate) async fn start(sync: Sync) -> Result<Self, Failed> {
        let settings = LocalServer::builder().sync_always(sync == Sync::Always);
        let broker = TestBroker::start_with(settings).await?;
        Ok(Self { broker })
    }

    pub(crate) fn url(&self) -> &str {
        self.broker.url()
    }

    /// A connection of ours.
    pub(crate) async fn ours(&self, name: &str) -> Result<Client, Failed> {
        Ok(Client::connect(Config::new(self.url()).name(name)).await?)
    }

    /// A connection of ours that never packs commands.
    pub(crate) async fn unpacked(&self, name: &str) -> Result<Client, Failed> {
        let config = Config::new(self.url()).name(name).packs(false);
        Ok(Client::connect(config).await?)
    }

    /// A connection of ours in a namespace of its own with so many workflow shards.
    pub(crate) async fn sharded(&self, shards: u16) -> Result<Client, Failed> {
        let topology = TopologyConfig {
            namespace: format!("shards{shards}"),
            workflow_shards: Some(shards),
            ..TopologyConfig::default()
        };
        let config = Config::new(self.url()).name("bench").topology(topology);
        Ok(Client::connect(config).await?)
    }

    /// A connection without anything of ours.
    pub(crate) async fn raw(&self) -> Result<async_nats::Client, Failed> {
        Ok(async_nats::connect(self.url()).await?)
    }
}
