//! The cells of the matrix: which fault, on which servers, for how long.

mod agents;
mod clients;
mod hostile;
mod server;

use std::{fmt, time::Duration};

use super::{Failed, scene::Scene};

pub use agents::STEPS;

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// F1: agents die at each step of their work.
    AgentDies,
    /// F2: an agent is stopped longer than its leases last, and goes on.
    AgentStops,
    /// F3: the server is killed and started again.
    ServerDies,
    /// F9: malformed, huge and hostile messages.
    Hostile,
    /// F10: one agent, many, one, each ended by SIGTERM under load.
    Replicas,
    /// F11: a storm of duplicates, and the same keys once more later.
    Duplicates,
}

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
            Self::ServerDies => "F3 server killed",
            Self::Hostile => "F9 hostile messages",
            Self::Replicas => "F10 replicas come and go",
            Self::Duplicates => "F11 duplicates",
        }
    }

    /// As in the matrix: `F1`.
    #[must_use]
    pub fn number(self) -> &'static str {
        self.name().split(' ').next().unwrap_or_default()
    }
}

impl Cell {
    /// Every cell.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let single = [
            Fault::AgentDies,
            Fault::AgentStops,
            Fault::ServerDies,
            Fault::Hostile,
            Fault::Replicas,
            Fault::Duplicates,
        ];
        single.map(|fault| Self { fault }).to_vec()
    }

    /// Those that every run of the tests plays.
    #[must_use]
    pub fn quick() -> Vec<Self> {
        let quick = ["F1", "F2", "F3", "F9", "F10"];
        let mut cells = Self::all();
        cells.retain(|cell| quick.contains(&cell.fault.number()));
        cells
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
        f.pad(self.fault.name())
    }
}

/// Plays a cell: agents, load, fault; what is left is for the checker.
pub(super) async fn play(scene: &mut Scene) -> Result<(), Failed> {
    match scene.cell.fault {
        Fault::AgentDies => agents::die_at_each_step(scene).await,
        Fault::AgentStops => agents::stop_past_the_lease(scene).await,
        Fault::Replicas => agents::come_and_go(scene).await,
        Fault::ServerDies => server::dies(scene).await,
        Fault::Hostile => hostile::messages(scene).await,
        Fault::Duplicates => clients::repeat(scene).await,
    }
}
