//! What a breaker tells about itself: its state, its changes of state, its figures.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass as probes, the rest is refused.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// One change of a breaker's state: worth an event, a metric and a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state it left.
    pub from: BreakerState,
    /// The state it entered.
    pub to: BreakerState,
    /// What made it change.
    pub cause: TransitionCause,
    /// When.
    pub at: Instant,
    /// For how long it opens; nothing where it does not.
    pub open_for: Option<Duration>,
    /// Calls in its window.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
}

/// What made a breaker change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Too many calls failed.
    FailureRate,
    /// Too many calls were slow.
    SlowRate,
    /// The open time passed and a call came.
    OpenTimePassed,
    /// So many probes failed that the rest could not close it.
    ProbesFailed,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// An operator forced it open.
    Forced,
    /// An operator reset it.
    Reset,
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::OpenTimePassed => "open_time_passed",
            Self::ProbesFailed => "probes_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Forced => "forced",
            Self::Reset => "reset",
        })
    }
}

/// A breaker's figures at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSnapshot {
    /// Its state; open until a call comes, even when the open time has passed.
    pub state: BreakerState,
    /// Whether an operator holds it open.
    pub forced: bool,
    /// What is left of the open time; nothing when it is not open or the time has passed.
    pub open_for: Option<Duration>,
    /// Calls in the window that count: not those ignored.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
    /// Those that were slow.
    pub slow: u32,
    /// Probes under way.
    pub probing: u32,
    /// How often it opened since it was last closed.
    pub opened: u32,
}
