//! The overload scenario: several senders want far more of one agent than it can do.
//!
//! The agent is `mcpctl probe --capacity 8` in a process of its own, its action takes 50 ms, and the senders have
//! connections of their own. They offer commands at random moments, whatever comes of the earlier ones, in all
//! lanes. What is measured is what the callers get. Tests and `make bench` call [`Overload::run`].

mod report;
mod sender;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mcp_agent_sdk::{Client, Config, Priority, SendError};

use crate::{Process, spawn_probe};

pub use report::{LaneReport, Report};
use sender::{Sender, Sent};

type Failed = Box<dyn std::error::Error>;

/// The agent that is overloaded.
const AGENT: &str = "probe";

/// How long one command keeps a handler.
const WORK: Duration = Duration::from_millis(50);

/// Who ask an idle agent at once, and how often each.
const IDLE_CALLERS: u32 = 4;
const IDLE_COMMANDS: u32 = 30;

/// How long it is measured what one instance can do.
const ATTAINED_IN: Duration = Duration::from_secs(2);

/// What is offered and to whom.
#[derive(Debug, Clone)]
pub struct Overload {
    /// Handlers of one instance.
    pub capacity: u32,
    /// Senders, each with a connection of its own.
    pub senders: usize,
    /// What they offer together, as a multiple of what one instance can do.
    pub times: f64,
    /// Whether the commands are realtime ones.
    pub realtime: bool,
    /// How long before the measuring begins.
    pub settle: Duration,
    /// How long is measured.
    pub measure: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            capacity: 8,
            senders: 4,
            times: 5.0,
            realtime: false,
            settle: Duration::from_secs(5),
            measure: Duration::from_secs(20),
        }
    }
}

/// The scenario while it runs.
pub struct Running {
    scenario: Overload,
    url: String,
    senders: Vec<Sender>,
    began: Instant,
}

impl Overload {
    /// Commands a second that so many instances can do.
    #[must_use]
    pub fn possible(&self, instances: u32) -> f64 {
        f64::from(self.capacity * instances) / WORK.as_secs_f64()
    }

    /// Starts one more instance of the agent.
    pub async fn instance(&self, url: &str) -> Process {
        spawn_probe(url, &["--capacity", &self.capacity.to_string()]).await
    }

    /// Measures what a critical command takes while there is nothing else: the 99th percentile.
    ///
    /// # Errors
    /// When a command fails.
    pub async fn idle(&self, url: &str) -> Result<Duration, Failed> {
        let client = Client::connect(Config::new(url).name("idle")).await?;
        // Few enough at once that each finds a handler free.
        let callers = (0..IDLE_CALLERS.min(self.capacity)).map(|_| async {
            let mut took = Vec::new();
            for _ in 0..IDLE_COMMANDS {
                let began = Instant::now();
                sender::send(&client, Priority::Critical, self.realtime).await?;
                took.push(began.elapsed());
            }
            Ok::<_, SendError>(took)
        });
        let took = futures_util::future::try_join_all(callers).await?;
        let mut took: Vec<Duration> = took.into_iter().flatten().collect();
        Ok(report::percentile(&mut took, 0.99))
    }

    /// Measures how many commands a second one instance really does, timers and journeys included: twice as many as it
    /// has handlers are under way at any time, so that none is ever idle.
    ///
    /// # Errors
    /// When a command fails.
    pub async fn attainable(&self, url: &str) -> Result<f64, Failed> {
        let client = Client::connect(Config::new(url).name("steady")).await?;
        let until = Instant::now() + ATTAINED_IN;
        let callers = (0..2 * self.capacity).map(|_| async {
            let mut done = 0_u32;
            while Instant::now() < until {
                sender::send(&client, Priority::Normal, false).await?;
                // What ends later was not done in the time.
                done += u32::from(Instant::now() < until);
            }
            Ok::<_, SendError>(done)
        });
        let done: u32 = futures_util::future::try_join_all(callers)
            .await?
            .into_iter()
            .sum();
        Ok(f64::from(done) / ATTAINED_IN.as_secs_f64())
    }

    /// Lets the senders begin.
    ///
    /// # Errors
    /// When one cannot connect.
    pub async fn begin(&self, url: &str) -> Result<Running, Failed> {
        let rate = self.times * self.possible(1) / self.senders as f64;
        let mut senders = Vec::new();
        for number in 0..self.senders {
            senders.push(Sender::start(url, number, rate, self.realtime).await?);
        }
        Ok(Running {
            scenario: self.clone(),
            url: url.to_owned(),
            senders,
            began: Instant::now(),
        })
    }

    /// The whole scenario against one instance: idle and well used first, then the overload.
    ///
    /// # Errors
    /// When a sender cannot connect, or nothing works even when idle.
    pub async fn run(&self, url: &str) -> Result<Report, Failed> {
        let _agent = self.instance(url).await;
        let idle_p99 = self.idle(url).await?;
        let attainable = self.attainable(url).await?;
        let running = self.begin(url).await?;
        tokio::time::sleep(self.settle).await;
        let mut report = running.measure(self.measure).await;
        report.idle_critical_p99 = Some(idle_p99);
        report.attainable = Some(attainable);
        report.since_begin = running.codes();
        running.end().await;
        Ok(report)
    }
}

impl Running {
    /// Measures for so long from now on.
    pub async fn measure(&self, time: Duration) -> Report {
        let from = Instant::now();
        tokio::time::sleep(time).await;
        let until = from + time;
        let sent: Vec<Vec<Sent>> = self
            .senders
            .iter()
            .map(|sender| sender.between(from, until))
            .collect();
        Report::of(&sent, time)
    }

    /// How many commands ended with each error code since the beginning.
    fn codes(&self) -> BTreeMap<String, u64> {
        let sent: Vec<Vec<Sent>> = self
            .senders
            .iter()
            .map(|sender| sender.between(self.began, Instant::now()))
            .collect();
        Report::of(&sent, self.began.elapsed()).codes
    }

    /// What got done in each second since the beginning.
    #[must_use]
    pub fn by_second(&self) -> Vec<u32> {
        let seconds = self.began.elapsed().as_secs();
        (0..seconds)
            .map(|second| {
                let from = self.began + Duration::from_secs(second);
                let in_second = self
                    .senders
                    .iter()
                    .map(|sender| sender.between(from, from + Duration::from_secs(1)));
                let done = in_second
                    .flatten()
                    .filter(|sent| sent.code.is_none())
                    .count();
                u32::try_from(done).unwrap_or(u32::MAX)
            })
            .collect()
    }

    /// Starts another instance beside the first.
    pub async fn grow(&self) -> Process {
        self.scenario.instance(&self.url).await
    }

    /// Stops the senders; what they wait for is given up.
    pub async fn end(self) {
        for sender in self.senders {
            sender.stop();
        }
    }
}

/// The code of what became of a command; `None` for a success.
fn code(outcome: &Result<serde_json::Value, SendError>) -> Option<String> {
    outcome.as_ref().err().map(SendError::code)
}
