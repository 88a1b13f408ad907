//! The cells of the matrix: which fault, on which servers, for how long.

mod agents;
mod clients;
mod hostile;
mod machine;
mod network;
mod server;

use std::{fmt, time::Duration};

use crate::proxy::Weather;

use super::{Failed, scene::Scene};

use network::Alone;

pub use agents::STEPS;

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// F1: agents die at each step of their work.
    AgentDies,
    /// F2: an agent is stopped longer than its leases last, and goes on.
    AgentStops,
    /// F3: the server, of a cluster the leader, is killed and started again.
    ServerDies,
    /// F3: the servers are replaced one after the other.
    ServersRoll,
    /// F3: all servers are killed at once.
    AllServersDie,
    /// F4: the server, of a cluster the leader, is stopped and goes on.
    ServerStops,
    /// F5: the leader is cut off from everybody.
    LeaderAlone,
    /// F5: one that does not lead is cut off from everybody.
    MinorityAlone,
    /// F5: clients and agents are cut off from all servers.
    ClientsAlone,
    /// F6: links lose what they carry.
    LossyLinks,
    /// F6: links are slow.
    SlowLinks,
    /// F6: links stall.
    StallingLinks,
    /// F7: the disk is full for a while.
    DiskFull,
    /// F8: agents' clocks are two days off.
    WrongClock,
    /// F9: malformed, huge and hostile messages.
    Hostile,
    /// F10: one agent, many, one, each ended by SIGTERM under load.
    Replicas,
    /// Any of them, one after the other, for long: no cell of the matrix.
    Soak,
    /// F11: a storm of duplicates, and the same keys once more later.
    Duplicates,
}

/// All of them, in the order of the matrix.
const FAULTS: [Fault; 17] = [
    Fault::AgentDies,
    Fault::AgentStops,
    Fault::ServerDies,
    Fault::ServersRoll,
    Fault::AllServersDie,
    Fault::ServerStops,
    Fault::LeaderAlone,
    Fault::MinorityAlone,
    Fault::ClientsAlone,
    Fault::LossyLinks,
    Fault::SlowLinks,
    Fault::StallingLinks,
    Fault::DiskFull,
    Fault::WrongClock,
    Fault::Hostile,
    Fault::Replicas,
    Fault::Duplicates,
];

/// How many servers a cluster has.
const CLUSTER: usize = 3;

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A few seconds, for every run of the tests.
    Quick,
    /// As long as the matrix asks for.
    Full,
}

/// A fault on servers of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// What is broken.
    pub fault: Fault,
    /// One, or a cluster of three that has everything three times.
    pub servers: usize,
}

impl Extent {
    /// How long a client waits for anything.
    pub(super) const fn patience(self) -> Duration {
        match self {
            Self::Quick => Duration::from_secs(15),
            Self::Full => Duration::from_secs(45),
        }
    }
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::AgentDies => "F1 agents die at each step",
            Self::AgentStops => "F2 agent stopped past its leases",
            Self::ServerDies => "F3 server or leader killed",
            Self::ServersRoll => "F3 rolling restart",
            Self::AllServersDie => "F3 all servers killed",
            Self::ServerStops => "F4 server or leader stopped",
            Self::LeaderAlone => "F5 leader cut off",
            Self::MinorityAlone => "F5 minority cut off",
            Self::ClientsAlone => "F5 clients cut off",
            Self::LossyLinks => "F6 lossy links",
            Self::SlowLinks => "F6 slow links",
            Self::StallingLinks => "F6 stalling links",
            Self::DiskFull => "F7 disk full",
            Self::WrongClock => "F8 clocks two days off",
            Self::Hostile => "F9 hostile messages",
            Self::Replicas => "F10 replicas come and go",
            Self::Duplicates => "F11 duplicates",
            Self::Soak => "soak",
        }
    }

    /// Whether one server can have it.
    const fn needs_a_cluster(self) -> bool {
        matches!(
            self,
            Self::ServersRoll | Self::AllServersDie | Self::LeaderAlone | Self::MinorityAlone
        )
    }

    /// As in the matrix: `F1`.
    #[must_use]
    pub fn number(self) -> &'static str {
        self.name().split(' ').next().unwrap_or_default()
    }
}

impl Cell {
    /// Every cell: each fault on one server, where one can have it, and on a cluster.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let single = FAULTS.iter().filter(|fault| !fault.needs_a_cluster());
        let single = single.map(|fault| Self {
            fault: *fault,
            servers: 1,
        });
        let cluster = FAULTS.map(|fault| Self {
            fault,
            servers: CLUSTER,
        });
        single.chain(cluster).collect()
    }

    /// Those that every run of the tests plays, on one server.
    #[must_use]
    pub fn quick() -> Vec<Self> {
        let quick = ["F1", "F2", "F3", "F9", "F10"];
        let mut cells = Self::all();
        cells.retain(|cell| cell.servers == 1 && quick.contains(&cell.fault.number()));
        cells
    }

    /// Whether somebody means this one: `F3`, or `F3x1` and `F3x3` for one server and a cluster.
    #[must_use]
    pub fn is_called(self, name: &str) -> bool {
        let number = self.fault.number();
        name == number || name == format!("{number}x{}", self.servers)
    }

    /// For a file of its own.
    #[must_use]
    pub fn file_name(self) -> String {
        self.to_string()
            .to_lowercase()
            .replace([' ', ',', ':'], "-")
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = match self.servers {
            1 => "",
            _ => ", x3",
        };
        f.pad(&format!("{}{servers}", self.fault.name()))
    }
}

/// Plays a cell: agents, load, fault; what is left is for the checker.
pub(super) async fn play(scene: &mut Scene) -> Result<(), Failed> {
    match scene.cell.fault {
        Fault::AgentDies => agents::die_at_each_step(scene).await,
        Fault::AgentStops => agents::stop_past_the_lease(scene).await,
        Fault::Replicas => agents::come_and_go(scene).await,
        Fault::ServerDies => server::dies(scene).await,
        Fault::ServersRoll => server::roll(scene).await,
        Fault::AllServersDie => server::all_die(scene).await,
        Fault::ServerStops => server::stops(scene).await,
        Fault::LeaderAlone => network::part(scene, Alone::Leader).await,
        Fault::MinorityAlone => network::part(scene, Alone::Minority).await,
        Fault::ClientsAlone => network::part(scene, Alone::Clients).await,
        Fault::LossyLinks => network::bad(scene, Weather::Lossy(5)).await,
        Fault::SlowLinks => network::bad(scene, Weather::Slow(Duration::from_millis(100))).await,
        Fault::StallingLinks => {
            network::bad(scene, Weather::Stalling(Duration::from_secs(4))).await
        }
        Fault::DiskFull => machine::disk_is_full(scene).await,
        Fault::WrongClock => machine::wrong_clock(scene).await,
        Fault::Hostile => hostile::messages(scene).await,
        Fault::Duplicates => clients::repeat(scene).await,
        // It plays itself, see `soak`.
        Fault::Soak => Ok(()),
    }
}
