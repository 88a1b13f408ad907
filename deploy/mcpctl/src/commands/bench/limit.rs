//! What keeps the rate from being higher, concluded from what was seen.

use std::fmt;

use serde::Serialize;

use super::level::Level;

/// Handlers in use from here on are the limit: the rest is what is on its way between two commands.
const BUSY: f64 = 0.85;

/// A part of failures that says more than any rate.
const MANY_FAILURES: f64 = 0.01;

/// A durable round trip writes one message. One that takes so many times as long as a realtime one waits for the disk.
const SLOW_STORE: f64 = 5.0;

/// Faster than this no disk is waited for.
const SLOW_STORE_MS: f64 = 2.0;

/// What limits the rate.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Limit {
    /// Commands fail.
    Failures { code: String, part: f64 },
    /// All handlers of the agent have work.
    Handlers { busy: f64, queue_wait_p95_ms: f64 },
    /// Storing takes long.
    Storage { durable_ms: f64, realtime_ms: f64 },
    /// None of these: processors, or the network.
    Machines { realtime_ms: f64 },
}

/// `alone` is one realtime command at a time.
pub(super) fn of(alone: &Level, levels: &[Level]) -> Limit {
    let realtime_ms = alone.p50_ms;
    let machines = Limit::Machines { realtime_ms };
    // The level that asked for most.
    let Some(most) = levels.iter().max_by_key(|level| level.in_flight) else {
        return machines;
    };
    let all = most.done + most.failed;
    let worst = most.errors.iter().max_by_key(|(_, count)| **count);
    if let Some((code, _)) = worst.filter(|_| most.failed as f64 > all as f64 * MANY_FAILURES) {
        return Limit::Failures {
            code: code.clone(),
            part: most.failed as f64 / all as f64,
        };
    }
    if let Some(busy) = most.busy.filter(|busy| *busy >= BUSY) {
        return Limit::Handlers {
            busy,
            queue_wait_p95_ms: most.queue_wait_p95_ms.unwrap_or_default(),
        };
    }
    let least = levels.iter().min_by_key(|level| level.in_flight);
    match least.map(|level| level.p50_ms) {
        Some(durable_ms)
            if durable_ms >= SLOW_STORE_MS && durable_ms >= realtime_ms * SLOW_STORE =>
        {
            Limit::Storage {
                durable_ms,
                realtime_ms,
            }
        }
        _ => machines,
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { code, part } => write!(
                f,
                "limited by failures: {:.0} % of the commands failed, most of them with {code}; `mcpctl explain {code}` says \
                 what to do",
                part * 100.0
            ),
            Self::Handlers {
                busy,
                queue_wait_p95_ms,
            } => write!(
                f,
                "limited by the agent: {:.0} % of its handlers were busy and commands waited up to {queue_wait_p95_ms:.0} ms \
                 there; start more instances, or raise MCP_AGENT_CAPACITY",
                busy * 100.0
            ),
            Self::Storage {
                durable_ms,
                realtime_ms,
            } => write!(
                f,
                "limited by the server's storage: a durable command alone took {durable_ms:.1} ms, a realtime one \
                 {realtime_ms:.1} ms; look at the disk, at sync_interval and at the number of replicas"
            ),
            Self::Machines { realtime_ms } => write!(
                f,
                "limited by neither handlers nor storage, but by processors or the network: a round trip that stores nothing \
                 took {realtime_ms:.2} ms"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(in_flight: usize, p50_ms: f64, busy: f64, failed: u64) -> Level {
        Level {
            in_flight,
            done: 1_000,
            per_second: 1_000.0,
            p50_ms,
            p90_ms: p50_ms,
            p99_ms: p50_ms,
            failed,
            errors: [("OVERLOADED".to_owned(), failed)].into(),
            busy: Some(busy),
            queue_wait_p95_ms: Some(7.0),
        }
    }

    fn word(alone_ms: f64, least_ms: f64, busy: f64, failed: u64) -> String {
        let levels = [level(1, least_ms, 0.1, 0), level(64, 9.0, busy, failed)];
        let limit = of(&level(1, alone_ms, 0.1, 0), &levels).to_string();
        limit.split(':').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn limit_is_what_stands_out() {
        assert_eq!(word(0.3, 0.5, 0.95, 300), "limited by failures");
        assert_eq!(word(0.3, 0.5, 0.95, 3), "limited by the agent");
        assert_eq!(word(0.3, 9.0, 0.40, 0), "limited by the server's storage");
        assert!(word(0.3, 0.5, 0.40, 0).starts_with("limited by neither"));
        // Slow, but so is the network.
        assert!(word(4.0, 9.0, 0.40, 0).starts_with("limited by neither"));
    }
}
