//! From two looks to what is shown: sums, and rates between them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mcp_agent_sdk::{
    InstanceState, PresenceRecord, Priority,
    runtime::{BreakerStatus, resilience::BreakerState},
    several_versions,
};
use serde::Serialize;

use super::{
    look::{Lane, Look},
    workflows::Definition,
};

/// Everything that is shown, and the document of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Board {
    pub(super) totals: Totals,
    pub(super) agents: Vec<Agent>,
    /// Those that are not closed.
    pub(super) breakers: Vec<Breaker>,
    pub(super) workflows: Vec<Definition>,
    pub(super) several_versions: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) agents: usize,
    pub(super) instances: usize,
    pub(super) queued: u64,
    pub(super) in_work: u64,
    pub(super) dead_letters: u64,
    /// Messages stored, of all agents.
    pub(super) commands_per_s: f64,
    pub(super) events_per_s: f64,
}

/// One agent: those that run, and those that only have lanes or dead letters.
#[derive(Debug, Default, Serialize)]
pub(super) struct Agent {
    pub(super) agent: String,
    /// What the best of its instances is; `None` when there is none.
    pub(super) state: Option<InstanceState>,
    pub(super) in_flight: u64,
    pub(super) capacity: u64,
    pub(super) lanes: BTreeMap<&'static str, Depth>,
    pub(super) queued: u64,
    pub(super) in_work: u64,
    pub(super) redelivered: u64,
    /// Commands that came, and deliveries that were settled, a second.
    pub(super) arriving_per_s: f64,
    pub(super) settled_per_s: f64,
    pub(super) dead_letters: u64,
    pub(super) instances: Vec<Instance>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Depth {
    pub(super) queued: u64,
    pub(super) in_work: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Instance {
    pub(super) instance: String,
    pub(super) version: String,
    pub(super) state: InstanceState,
    pub(super) started_at: u64,
    pub(super) in_flight: u32,
    pub(super) capacity: u32,
    pub(super) utilization: f64,
    pub(super) queue_wait_p95_ms: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Breaker {
    pub(super) agent: String,
    pub(super) instance: String,
    #[serde(flatten)]
    pub(super) status: BreakerStatus,
}

impl Board {
    /// What `now` shows, with rates since `before`; without one they are 0.
    pub(super) fn of(before: Option<&Look>, now: &Look) -> Self {
        let seconds = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
        let rate = |before: Option<u64>, now: u64| match before {
            // A stream or consumer that was made anew counts from the beginning.
            Some(before) if seconds > 0.0 => now.saturating_sub(before) as f64 / seconds,
            _ => 0.0,
        };
        let mut agents: BTreeMap<&str, Agent> = BTreeMap::new();
        for record in &now.records {
            agents.entry(&record.agent).or_default().add(record);
        }
        for (name, lanes) in &now.lanes {
            let agent = agents.entry(name).or_default();
            let earlier = before.and_then(|before| before.lanes.get(name));
            agent.take(lanes);
            let total = |of: &dyn Fn(&Lane) -> u64, lanes: &[Lane; 4]| lanes.iter().map(of).sum();
            let came = |lane: &Lane| lane.delivered + lane.queued;
            let went = |lane: &Lane| lane.delivered.saturating_sub(lane.in_work);
            let between = |of: &dyn Fn(&Lane) -> u64| {
                rate(earlier.map(|lanes| total(of, lanes)), total(of, lanes))
            };
            agent.arriving_per_s = between(&came);
            agent.settled_per_s = between(&went);
        }
        for (name, count) in &now.dead {
            agents.entry(name).or_default().dead_letters = *count;
        }
        let agents: Vec<Agent> = agents
            .into_iter()
            .map(|(name, agent)| Agent {
                agent: name.to_owned(),
                ..agent
            })
            .collect();
        let mut totals = totals(&agents);
        totals.commands_per_s = rate(before.map(|before| before.commands), now.commands);
        totals.events_per_s = rate(before.map(|before| before.events), now.events);
        Self {
            totals,
            agents,
            breakers: breakers(&now.records),
            workflows: now.workflows.clone(),
            several_versions: several_versions(&now.records),
        }
    }
}

impl Agent {
    fn add(&mut self, record: &PresenceRecord) {
        let load = record.load;
        self.in_flight += u64::from(load.in_flight);
        self.capacity += u64::from(load.capacity);
        self.state = match (self.state, record.state) {
            (None, state) => Some(state),
            (Some(best), state) if rank(state) < rank(best) => Some(state),
            (best, _) => best,
        };
        self.instances.push(Instance {
            instance: record.instance.clone(),
            version: record.version.clone(),
            state: record.state,
            started_at: record.started_at,
            in_flight: load.in_flight,
            capacity: load.capacity,
            utilization: load.utilization,
            queue_wait_p95_ms: load.queue_wait_p95_ms,
        });
    }

    fn take(&mut self, lanes: &[Lane; 4]) {
        for (priority, lane) in Priority::ALL.iter().zip(lanes) {
            let depth = Depth {
                queued: lane.queued,
                in_work: lane.in_work,
            };
            self.lanes.insert(priority.as_str(), depth);
            self.queued += lane.queued;
            self.in_work += lane.in_work;
            self.redelivered += lane.again;
        }
    }

    /// 0 to 1.
    pub(super) fn utilization(&self) -> f64 {
        match self.capacity {
            0 => 0.0,
            capacity => (self.in_flight as f64 / capacity as f64).min(1.0),
        }
    }
}

/// An agent is as able as its most able instance.
fn rank(state: InstanceState) -> u8 {
    match state {
        InstanceState::Ready => 0,
        InstanceState::Busy => 1,
        InstanceState::Starting => 2,
        InstanceState::Draining => 3,
    }
}

fn totals(agents: &[Agent]) -> Totals {
    let mut totals = Totals::default();
    for agent in agents {
        totals.agents += usize::from(!agent.instances.is_empty());
        totals.instances += agent.instances.len();
        totals.queued += agent.queued;
        totals.in_work += agent.in_work;
        totals.dead_letters += agent.dead_letters;
    }
    totals
}

fn breakers(records: &[PresenceRecord]) -> Vec<Breaker> {
    let mut found = Vec::new();
    for record in records {
        let open = record.breakers.iter();
        let open = open.filter(|breaker| breaker.state != BreakerState::Closed);
        found.extend(open.map(|status| Breaker {
            agent: record.agent.clone(),
            instance: record.instance.clone(),
            status: status.clone(),
        }));
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    /// Two looks, two seconds apart, at a busy system.
    pub(crate) fn busy() -> Board {
        let at = Instant::now();
        let record = |instance: &str, version: &str, state: &str| -> PresenceRecord {
            let record = json!({
                "agent": "writer", "instance": instance, "version": version, "state": state,
                "load": { "in_flight": 6, "capacity": 8, "utilization": 0.75, "queue_wait_p95_ms": 12.5 },
                "breakers": [
                    { "target": "printer", "state": "open", "open_ms_left": 30_000, "calls": 9, "failures": 5 },
                    { "target": "reader", "state": "closed", "calls": 9 },
                ],
            });
            serde_json::from_value(record).unwrap()
        };
        let lane = |queued: u64, in_work: u64, delivered: u64| Lane {
            queued,
            in_work,
            again: 0,
            delivered,
        };
        let none = Lane::default();
        let look = |at: Instant, normal: Lane, commands: u64| Look {
            at,
            records: vec![record("w1", "1.0", "busy"), record("w2", "1.1", "ready")],
            lanes: BTreeMap::from([
                ("writer".to_owned(), [none, none, normal, none]),
                ("printer".to_owned(), [none, none, lane(7, 0, 0), none]),
            ]),
            dead: BTreeMap::from([("printer".to_owned(), 3)]),
            commands,
            events: 5,
            workflows: vec![Definition {
                definition: "film".to_owned(),
                starting: 4,
                statuses: BTreeMap::from([("running", 2), ("failed", 1)]),
                states: BTreeMap::from([("script".to_owned(), 2)]),
            }],
        };
        let before = look(at, lane(10, 4, 100), 1_000);
        let now = look(at + Duration::from_secs(2), lane(20, 6, 140), 1_050);
        Board::of(Some(&before), &now)
    }

    /// So many quiet agents.
    pub(crate) fn many(count: usize) -> Board {
        let mut board = busy();
        board.breakers.clear();
        board.workflows.clear();
        board.several_versions.clear();
        board.agents = (0..count)
            .map(|number| Agent {
                agent: format!("agent-{number:03}"),
                ..Agent::default()
            })
            .collect();
        board
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let board = busy();
        assert_eq!(board.totals.commands_per_s, 25.0);
        assert_eq!(board.totals.events_per_s, 0.0);
        let writer = &board.agents[1];
        assert_eq!(writer.agent, "writer");
        // 40 more delivered and 10 more queued; 2 more in work.
        assert_eq!((writer.arriving_per_s, writer.settled_per_s), (25.0, 19.0));
    }

    #[test]
    fn an_agent_is_the_sum_of_its_instances_and_lanes() {
        let board = busy();
        let (printer, writer) = (&board.agents[0], &board.agents[1]);
        assert_eq!(writer.state, Some(InstanceState::Ready), "one has room");
        assert_eq!((writer.in_flight, writer.capacity), (12, 16));
        assert_eq!(writer.utilization(), 0.75);
        assert_eq!(
            writer.lanes["normal"],
            Depth {
                queued: 20,
                in_work: 6
            }
        );
        assert_eq!(
            (printer.state, printer.queued, printer.dead_letters),
            (None, 7, 3)
        );
        assert_eq!((board.totals.agents, board.totals.instances), (1, 2));
        assert_eq!(
            board.breakers.len(),
            2,
            "one of each instance, the closed ones not"
        );
        assert!(board.several_versions.contains_key("writer"));
    }
}
