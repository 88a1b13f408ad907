//! The servers of a cell: one, or a cluster of three, behind links that can be broken; on the disk, or on a small one.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use mcp_agent_sdk::{Client, runtime::topology::TopologyConfig};
use tempfile::TempDir;

use crate::Cluster;

use super::{Failed, NotHere};

/// What the small disk holds.
const SMALL: &str = "size=96m";

/// What stores the messages of a cell.
pub(super) struct Servers {
    pub(super) cluster: Cluster,
    // After the servers, which write there.
    disk: Option<SmallDisk>,
}

impl Servers {
    pub(super) async fn start(count: usize) -> Self {
        Self {
            cluster: Cluster::start_linked(count, None).await,
            disk: None,
        }
    }

    /// With their streams on a disk that is soon full.
    pub(super) async fn start_on_a_small_disk(count: usize) -> Result<Self, Failed> {
        let disk = SmallDisk::mount()?;
        let cluster = Cluster::start_linked(count, Some(disk.folder.path())).await;
        Ok(Self {
            cluster,
            disk: Some(disk),
        })
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> String {
        self.cluster.url()
    }

    pub(super) fn count(&self) -> usize {
        self.cluster.size()
    }

    /// Every stream is on every server.
    pub(super) fn topology(&self) -> TopologyConfig {
        TopologyConfig {
            replicas: u8::try_from(self.count()).ok(),
            ..TopologyConfig::default()
        }
    }

    /// Who leads the stream of commands.
    pub(super) async fn leader(&self, client: &Client) -> Result<usize, Failed> {
        if self.count() == 1 {
            return Ok(0);
        }
        let commands = client.namespace().commands_stream();
        let stream = client.jetstream().get_stream(commands).await?;
        let cluster = stream.cached_info().cluster.as_ref();
        let leader = cluster.and_then(|cluster| cluster.leader.as_deref());
        let number = leader.and_then(|name| name.strip_prefix('n')?.parse().ok());
        Ok(number.ok_or("the stream of commands has no leader")?)
    }

    /// Writes until nothing more fits; the file that does it.
    pub(super) fn fill_the_disk(&self) -> Result<PathBuf, Failed> {
        let disk = self.disk.as_ref().ok_or("the disk is not small")?;
        let ballast = disk.folder.path().join("ballast");
        let mut file = File::create(&ballast)?;
        for size in [1 << 20, 1 << 12] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(ballast)
    }
}

/// A file system in memory.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("mcp-disk-").tempdir()?;
        let mounted = mount(folder.path());
        match mounted {
            Ok(true) => Ok(Self { folder }),
            _ => Err(NotHere("mounting a small disk needs root".to_owned()).into()),
        }
    }
}

fn mount(folder: &Path) -> io::Result<bool> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", SMALL, "tmpfs"]);
    Ok(command.arg(folder).output()?.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that was just killed may still have files open.
        let mut command = Command::new("umount");
        let _ = command.arg("-l").arg(self.folder.path()).output();
    }
}
