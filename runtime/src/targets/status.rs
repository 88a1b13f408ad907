//! What a client tells of its breakers: to its program, and in an agent's presence record.

use serde::{Deserialize, Serialize};

use crate::{
    message::Name,
    resilience::{BreakerSnapshot, BreakerState},
};

/// Breakers in one presence record.
const MOST_PUBLISHED: usize = 64;

/// One circuit breaker of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The agent that it guards.
    pub target: String,
    /// The action, where it guards only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Open until a call comes, even when the open time has passed.
    pub state: BreakerState,
    /// Whether an operator holds it open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// What is left of the open time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ms_left: Option<u64>,
    /// Calls in its window.
    #[serde(default)]
    pub calls: u32,
    /// Those that failed.
    #[serde(default)]
    pub failures: u32,
}

impl BreakerStatus {
    pub(super) fn new(target: &Name, action: Option<&Name>, snapshot: &BreakerSnapshot) -> Self {
        let left = snapshot.open_for.map(|left| left.as_millis());
        Self {
            target: target.to_string(),
            action: action.map(ToString::to_string),
            state: snapshot.state,
            forced: snapshot.forced,
            open_ms_left: left.map(|left| u64::try_from(left).unwrap_or(u64::MAX)),
            calls: snapshot.calls,
            failures: snapshot.failures,
        }
    }

    fn is_quiet(&self) -> bool {
        self.state == BreakerState::Closed && self.calls == 0
    }
}

/// Those worth telling, the open ones first.
pub(super) fn to_publish(mut all: Vec<BreakerStatus>) -> Vec<BreakerStatus> {
    all.retain(|breaker| !breaker.is_quiet());
    all.sort_by(|a, b| {
        let rank = |breaker: &BreakerStatus| {
            (
                breaker.state == BreakerState::Closed,
                std::cmp::Reverse(breaker.failures),
            )
        };
        (rank(a), &a.target, &a.action).cmp(&(rank(b), &b.target, &b.action))
    });
    all.truncate(MOST_PUBLISHED);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_ones_are_told_first_and_quiet_ones_not_at_all() {
        let breaker = |target: String, state, calls| BreakerStatus {
            target,
            action: None,
            state,
            forced: false,
            open_ms_left: None,
            calls,
            failures: 0,
        };
        let mut all: Vec<_> = (0..80)
            .map(|n| breaker(format!("busy-{n}"), BreakerState::Closed, 5))
            .collect();
        all.push(breaker("quiet".to_owned(), BreakerState::Closed, 0));
        all.push(breaker("dead".to_owned(), BreakerState::Open, 20));
        let told = to_publish(all);
        assert_eq!((told.len(), told[0].target.as_str()), (64, "dead"));
        assert!(told.iter().all(|breaker| breaker.target != "quiet"));
    }
}
