//! How much is measured, from the environment and the command line; read once, at the start.

use std::{env, fmt, time::Duration};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scale {
    /// A first look: `QUICK=1`.
    Quick,
    /// The main rows.
    Main,
    /// Every row: `FULL=1`.
    Full,
}

/// The settings of one run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) scale: Scale,
    /// Both sides are measured so often in turn.
    pub(crate) rounds: usize,
    /// How long one side is measured in one round, after a warm-up of a quarter of it.
    pub(crate) window: Duration,
    wanted: Vec<String>,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let is_set =
            |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let scale = match (is_set("QUICK"), is_set("FULL")) {
            (true, _) => Scale::Quick,
            (false, true) => Scale::Full,
            (false, false) => Scale::Main,
        };
        let (rounds, window_ms) = match scale {
            // Three is the fewest that have a median, half a second the shortest in which rates are steady.
            Scale::Quick => (3, 500),
            Scale::Main => (5, 1_500),
            Scale::Full => (7, 3_000),
        };
        let wanted = env::args().skip(1).filter(|word| !word.starts_with("--"));
        Self {
            scale,
            rounds,
            window: Duration::from_millis(window_ms),
            wanted: wanted.collect(),
        }
    }

    /// Whether the row is to be measured: all are, unless the beginnings of some names were given.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.wanted.is_empty()
            || self
                .wanted
                .iter()
                .any(|name| row.starts_with(name.as_str()))
    }

    /// Whether a row that begins so may be: no server is started in vain.
    pub(crate) fn wants_some(&self, group: &str) -> bool {
        let may = |name: &String| name.starts_with(group) || group.starts_with(name.as_str());
        self.wanted.is_empty() || self.wanted.iter().any(may)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let profile = if cfg!(debug_assertions) {
            "DEBUG BUILD: the figures mean nothing"
        } else {
            "release build"
        };
        write!(
            f,
            "ours against raw async-nats, {:?}: {} rounds of {:?} each; {cores} cores for server, clients and workers; {profile}",
            self.scale, self.rounds, self.window
        )?;
        // Others that work on the machine spoil figures; who reads them must be able to see that.
        match std::fs::read_to_string("/proc/loadavg") {
            Ok(load) => write!(
                f,
                "; load before: {}",
                load.split(' ').next().unwrap_or_default()
            ),
            Err(_) => Ok(()),
        }
    }
}
