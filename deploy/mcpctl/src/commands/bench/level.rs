//! One measurement: so many commands on their way for so long.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mcp_agent_sdk::{Client, Priority, Raw, RetryConfig};
use serde::Serialize;
use tokio::task::JoinSet;

/// The first part is not counted: connections, consumers and limits have to find their pace.
const WARM_UP_PARTS: u32 = 5;

/// Longer than anything but a standstill.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) agent: &'a str,
    pub(super) priority: Priority,
    pub(super) size: usize,
    pub(super) time: Duration,
    pub(super) in_flight: usize,
    pub(super) realtime: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Level {
    pub(super) in_flight: usize,
    pub(super) done: u64,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) failed: u64,
    /// How often each code.
    pub(super) errors: BTreeMap<String, u64>,
    /// The part of the agent's handlers that was in use, as its replies say.
    pub(super) busy: Option<f64>,
    /// How long commands waited at the agent, 95th percentile, as its replies say.
    pub(super) queue_wait_p95_ms: Option<f64>,
}

/// What one of the senders has seen.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    errors: BTreeMap<String, u64>,
    loads: u32,
    busy: f64,
    queue_wait_p95_ms: f64,
}

impl Load<'_> {
    pub(super) async fn measure(self, client: &Client) -> Level {
        let began = Instant::now();
        let counted_from = began + self.time / WARM_UP_PARTS;
        let until = began + self.time;
        let mut senders = JoinSet::new();
        for _ in 0..self.in_flight {
            let (client, agent) = (client.clone(), self.agent.to_owned());
            let load = Load { agent: "", ..self };
            senders.spawn(async move { load.send(&client, &agent, counted_from, until).await });
        }
        let mut all = Seen::default();
        while let Some(seen) = senders.join_next().await {
            all.add(seen.unwrap_or_default());
        }
        all.level(self.in_flight, until - counted_from)
    }

    async fn send(
        self,
        client: &Client,
        agent: &str,
        counted_from: Instant,
        until: Instant,
    ) -> Seen {
        let parameters = Raw::encode(&"x".repeat(self.size)).unwrap_or_default();
        let mut seen = Seen::default();
        loop {
            let began = Instant::now();
            if began >= until {
                return seen;
            }
            let mut command = client
                .send_command::<Raw>(agent, "echo", &parameters)
                .priority(self.priority)
                .timeout(TIMEOUT)
                .retry(RetryConfig {
                    max_retries: 0,
                    ..RetryConfig::default()
                });
            if self.realtime {
                command = command.realtime();
            }
            let reply = command.reply().await;
            // What ends after the time would be counted as if it had been done within it.
            let ended = Instant::now();
            if began < counted_from || ended > until {
                continue;
            }
            let error = match &reply {
                Ok(reply) => reply.error.as_ref().map(|error| error.code.clone()),
                Err(error) => Some(error.code()),
            };
            match error {
                None => seen.took.push(ended - began),
                Some(code) => *seen.errors.entry(code).or_default() += 1,
            }
            if let Some(load) = reply.ok().and_then(|reply| reply.load) {
                seen.loads += 1;
                seen.busy += load.utilization;
                seen.queue_wait_p95_ms += load.queue_wait_p95_ms;
            }
        }
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.loads += other.loads;
        self.busy += other.busy;
        self.queue_wait_p95_ms += other.queue_wait_p95_ms;
    }

    fn level(mut self, in_flight: usize, time: Duration) -> Level {
        self.took.sort_unstable();
        let mean = |sum: f64| (self.loads > 0).then(|| sum / f64::from(self.loads));
        let done = self.took.len() as u64;
        Level {
            in_flight,
            done,
            per_second: done as f64 / time.as_secs_f64(),
            p50_ms: percentile(&self.took, 50),
            p90_ms: percentile(&self.took, 90),
            p99_ms: percentile(&self.took, 99),
            failed: self.errors.values().sum(),
            busy: mean(self.busy),
            queue_wait_p95_ms: mean(self.queue_wait_p95_ms),
            errors: self.errors,
        }
    }
}

/// Of sorted durations, in milliseconds; 0 of none.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted
        .get(place)
        .map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let of = |percent| percentile(&sorted, percent);
        assert_eq!((of(50), of(90), of(99)), (50.0, 90.0, 99.0));
        assert_eq!(percentile(&sorted[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
