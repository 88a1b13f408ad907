//! What the callers got, in figures.

use std::{collections::BTreeMap, fmt, time::Duration};

use mcp_agent_sdk::Priority;

use super::Sent;

/// What the callers got in the measured time.
#[derive(Debug, Clone)]
pub struct Report {
    /// Commands done a second.
    pub goodput: f64,
    /// Commands done a second, by sender.
    pub by_sender: Vec<f64>,
    /// By lane, the highest first.
    pub lanes: [LaneReport; 4],
    /// How many ended with each error code.
    pub codes: BTreeMap<String, u64>,
    /// What a critical command takes without load, the 99th percentile, where it was measured.
    pub idle_critical_p99: Option<Duration>,
    /// Commands a second that one instance did when it was well used, where it was measured.
    pub attainable: Option<f64>,
    /// As [`codes`](Self::codes), with what ended before the measuring began; empty where it is not known.
    pub since_begin: BTreeMap<String, u64>,
}

/// What became of the commands of one lane.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaneReport {
    /// Commands that ended, one way or the other.
    pub offered: u64,
    /// Those that brought a result.
    pub done: u64,
    /// How long these took, half of them at most.
    pub p50: Duration,
    /// How long these took, 99 of 100 at most.
    pub p99: Duration,
}

impl LaneReport {
    /// The part that was done.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.done as f64 / self.offered.max(1) as f64
    }
}

impl Report {
    pub(super) fn of(senders: &[Vec<Sent>], time: Duration) -> Self {
        let done = |sent: &[Sent]| {
            sent.iter().filter(|sent| sent.code.is_none()).count() as f64 / time.as_secs_f64()
        };
        let all: Vec<&Sent> = senders.iter().flatten().collect();
        let mut codes = BTreeMap::new();
        for code in all.iter().filter_map(|sent| sent.code.clone()) {
            *codes.entry(code).or_default() += 1;
        }
        Self {
            goodput: senders.iter().map(|sent| done(sent)).sum(),
            by_sender: senders.iter().map(|sent| done(sent)).collect(),
            lanes: Priority::ALL.map(|lane| lane_report(&all, lane)),
            codes,
            idle_critical_p99: None,
            attainable: None,
            since_begin: BTreeMap::new(),
        }
    }

    /// The part of a fair share that the sender with the least got.
    #[must_use]
    pub fn least_share(&self) -> f64 {
        let least = self.by_sender.iter().copied().fold(f64::MAX, f64::min);
        least * self.by_sender.len() as f64 / self.goodput.max(f64::MIN_POSITIVE)
    }
}

fn lane_report(all: &[&Sent], lane: Priority) -> LaneReport {
    let in_lane = all.iter().filter(|sent| sent.lane == lane);
    let mut took: Vec<Duration> = in_lane
        .clone()
        .filter(|sent| sent.code.is_none())
        .map(|sent| sent.took)
        .collect();
    LaneReport {
        offered: in_lane.count() as u64,
        done: took.len() as u64,
        p50: percentile(&mut took, 0.5),
        p99: percentile(&mut took, 0.99),
    }
}

/// The smallest value that so large a part of the values does not exceed; zero of none.
pub(super) fn percentile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let place = (values.len() as f64 * part).ceil() as usize;
    values
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goodput {:.0}/s, by sender", self.goodput)?;
        for done in &self.by_sender {
            write!(f, " {done:.0}")?;
        }
        if let Some(attainable) = self.attainable {
            write!(f, "; attainable {attainable:.0}/s")?;
        }
        if let Some(idle) = self.idle_critical_p99 {
            write!(f, "; critical when idle p99 {idle:.1?}")?;
        }
        for (lane, report) in Priority::ALL.iter().zip(&self.lanes) {
            write!(
                f,
                "\n  {lane:<8} {:>6} offered, {:>5.1} % done, p50 {:.0?}, p99 {:.0?}",
                report.offered,
                report.share() * 100.0,
                report.p50,
                report.p99
            )?;
        }
        for (code, count) in &self.codes {
            write!(f, "\n  {code} {count}")?;
            if let Some(all) = self.since_begin.get(code) {
                write!(f, ", with those before it {all}")?;
            }
        }
        let before = self.since_begin.iter();
        for (code, count) in before.filter(|(code, _)| !self.codes.contains_key(*code)) {
            write!(f, "\n  {code} {count}, all before it")?;
        }
        Ok(())
    }
}
