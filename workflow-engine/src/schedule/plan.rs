//! What a schedule is: its times, what it does then, and what has become of it so far.

use std::time::Duration;

use mcp_runtime::{Name, Raw};
use serde::{Deserialize, Serialize};

use super::times::Times;

/// Missed times that are made up for at most; older ones are left out, and counted.
pub(super) const MOST_MADE_UP: usize = 100;

/// Later than this a time counts as missed: nobody was there to see to it.
const LATE_MS: u64 = 60_000;

/// What happens to times at which no engine was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// The last of them is made up for.
    #[default]
    Once,
    /// Each is made up for, of many the last 100.
    All,
}

/// What is to happen, and when. Given to [`Schedules::add`](super::Schedules::add).
///
/// ```
/// use mcp_workflow_engine::{CatchUp, Schedule};
/// let report = Schedule::cron("0 9 * * MON-FRI", "Europe/Berlin")
///     .starts("report", &serde_json::json!({ "for": "yesterday" }))
///     .catch_up(CatchUp::Skip);
/// # let _ = report;
/// ```
#[derive(Debug, Clone)]
#[must_use = "a schedule does nothing before it is added"]
pub struct Schedule {
    pub(super) times: Times,
    pub(super) what: Option<Result<What, String>>,
    pub(super) catch_up: CatchUp,
    pub(super) paused: bool,
}

impl Schedule {
    /// Every so often, at least 1 s, for the first time after one interval.
    pub fn every(interval: Duration) -> Self {
        let every_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        // Its beginning is when it is added.
        Self::at(Times::Every {
            every_ms,
            from_ms: 0,
        })
    }

    /// By a cron expression (minute, hour, day, month, weekday) on the clocks of a time zone, such as `Europe/Berlin` or `UTC`. A
    /// time that the clocks skip comes with the hour after; of one that they repeat, the first counts.
    pub fn cron(expression: &str, zone: &str) -> Self {
        let (cron, zone) = (expression.to_owned(), zone.to_owned());
        Self::at(Times::Cron { cron, zone })
    }

    fn at(times: Times) -> Self {
        Self {
            times,
            what: None,
            catch_up: CatchUp::default(),
            paused: false,
        }
    }

    /// Starts a workflow each time, with the id `<schedule>-<time>`.
    pub fn starts(mut self, definition: &str, data: &(impl Serialize + ?Sized)) -> Self {
        let what = encoded(data).and_then(|data| {
            let definition = named(definition)?;
            Ok(What::Start { definition, data })
        });
        self.what = Some(what);
        self
    }

    /// Hands a command over each time, with the idempotency key `<schedule>-<time>`.
    pub fn sends(
        mut self,
        agent: &str,
        action: &str,
        parameters: &(impl Serialize + ?Sized),
    ) -> Self {
        let what = encoded(parameters).and_then(|parameters| {
            Ok(What::Send {
                agent: named(agent)?,
                action: named(action)?,
                parameters,
            })
        });
        self.what = Some(what);
        self
    }

    /// What happens to times at which no engine was there (default: the last one is made up for).
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Begins paused.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// # Errors
    /// In words.
    pub(super) fn plan(self, name: Name, now_ms: u64) -> Result<Plan, String> {
        let times = match self.times {
            Times::Every { every_ms, .. } => {
                // Whole seconds make readable ids.
                let from_ms = now_ms.saturating_add(every_ms).next_multiple_of(1_000);
                Times::Every { every_ms, from_ms }
            }
            cron => cron,
        };
        times.check()?;
        let what = self.what.ok_or("say what it starts or sends")??;
        Ok(Plan {
            next: times.next(now_ms).filter(|_| !self.paused),
            name,
            times,
            what,
            catch_up: self.catch_up,
            paused: self.paused,
            removed: false,
            last: None,
            fired: 0,
            missed: 0,
            error: None,
        })
    }
}

fn encoded(value: &(impl Serialize + ?Sized)) -> Result<Raw, String> {
    Raw::encode(value).map_err(|error| error.to_string())
}

fn named(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

/// What a schedule does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Start {
        definition: Name,
        data: Raw,
    },
    Send {
        agent: Name,
        action: Name,
        parameters: Raw,
    },
}

impl What {
    fn describe(&self) -> String {
        match self {
            Self::Start { definition, .. } => format!("starts {definition}"),
            Self::Send { agent, action, .. } => format!("sends {agent} {action}"),
        }
    }
}

/// A time that was seen to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fired {
    /// The time, in Unix milliseconds; of a run by hand when that was asked for.
    pub at: u64,
    /// The workflow that was started, or the command's key.
    pub id: String,
}

/// The data of a schedule's workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: Name,
    pub(super) times: Times,
    pub(super) what: What,
    #[serde(default)]
    pub(super) catch_up: CatchUp,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) removed: bool,
    /// The next time to be seen to.
    #[serde(default)]
    pub(super) next: Option<u64>,
    #[serde(default)]
    pub(super) last: Option<Fired>,
    /// How many were seen to, and how many left out.
    #[serde(default)]
    pub(super) fired: u64,
    #[serde(default)]
    pub(super) missed: u64,
    /// Why the last one came to nothing.
    #[serde(default)]
    pub(super) error: Option<String>,
}

impl Plan {
    /// Whether its times ever pass: what was not made by [`Schedule`] may say anything.
    ///
    /// # Errors
    /// In words.
    pub(super) fn check(&self) -> Result<(), String> {
        self.times.check()
    }

    /// The times to see to now, and the plan as it is after that.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<u64> {
        self.due_until(now_ms, now_ms)
    }

    /// The same for times up to one that has passed; how late they are is still judged by now.
    pub(super) fn due_until(&mut self, until_ms: u64, now_ms: u64) -> Vec<u64> {
        let Some(next) = self
            .next
            .filter(|next| *next <= until_ms && self.is_active())
        else {
            return Vec::new();
        };
        let most = match self.catch_up {
            CatchUp::Skip | CatchUp::Once => 1,
            CatchUp::All => MOST_MADE_UP,
        };
        let (mut due, left_out) = self.times.due(next, until_ms, most);
        self.missed = self.missed.saturating_add(left_out);
        if self.catch_up == CatchUp::Skip {
            let before = due.len();
            due.retain(|at| now_ms.saturating_sub(*at) <= LATE_MS);
            self.missed = self.missed.saturating_add((before - due.len()) as u64);
        }
        self.next = self.times.next(until_ms);
        due
    }

    pub(super) fn is_active(&self) -> bool {
        !self.paused && !self.removed
    }

    /// After a pause: times within it are not made up for.
    pub(super) fn resume(&mut self, now_ms: u64) {
        if self.paused && !self.removed {
            self.paused = false;
            self.next = self.times.next(now_ms);
        }
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
        self.next = None;
    }

    pub(super) fn remove(&mut self) {
        self.removed = true;
        self.next = None;
    }
}

/// Reads a record as the schedule's workflow does, and lets its next time pass by so much.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_plan(body: &[u8], later_ms: u64) {
    let Ok(mut plan) = serde_json::from_slice::<Plan>(body) else {
        return;
    };
    if plan.check().is_err() {
        return;
    }
    let now_ms = plan.next.unwrap_or_default().saturating_add(later_ms);
    assert!(plan.due(now_ms).len() <= MOST_MADE_UP, "{plan:?}");
    assert!(plan.next.is_none_or(|next| next > now_ms), "{plan:?}");
    let _ = ScheduleInfo::from(plan);
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: Name,
    /// When it fires, in words.
    pub when: String,
    /// What it does, in words.
    pub what: String,
    /// What happens to missed times.
    pub catch_up: CatchUp,
    /// Whether it rests until it is resumed.
    pub paused: bool,
    /// The next time, in Unix milliseconds by the server's clock.
    pub next: Option<u64>,
    /// The last time that was seen to.
    pub last: Option<Fired>,
    /// How many times were seen to.
    pub fired: u64,
    /// How many were left out.
    pub missed: u64,
    /// Why the last one came to nothing.
    pub error: Option<String>,
}

impl From<Plan> for ScheduleInfo {
    fn from(plan: Plan) -> Self {
        Self {
            when: plan.times.describe(),
            what: plan.what.describe(),
            name: plan.name,
            catch_up: plan.catch_up,
            paused: plan.paused,
            next: plan.next,
            last: plan.last,
            fired: plan.fired,
            missed: plan.missed,
            error: plan.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_a_signal_that_was_taken_late_is_late_itself() {
        let check = |catch_up, expected: &[u64]| {
            let mut plan = plan(catch_up);
            let next = plan.next.unwrap();
            let due = plan.due_until(next + 5_000, next + 3_600_000);
            assert_eq!(due.iter().map(|at| at - next).collect::<Vec<_>>(), expected);
            assert_eq!(plan.next, Some(next + 10_000));
            assert_eq!(plan.missed, 1 - expected.len() as u64);
        };
        check(CatchUp::Skip, &[]);
        check(CatchUp::Once, &[0]);
        check(CatchUp::All, &[0]);
    }

    /// Every 10 s from 10 s on.
    fn plan(catch_up: CatchUp) -> Plan {
        let schedule = Schedule::every(Duration::from_secs(10)).sends("a", "b", &());
        schedule
            .catch_up(catch_up)
            .plan(named("s").unwrap(), 0)
            .unwrap()
    }

    #[test]
    fn missed_times_are_skipped_or_made_up_for() {
        let check = |catch_up, now_s: u64, expected: &[u64], missed: u64| {
            let mut plan = plan(catch_up);
            let due: Vec<u64> = plan
                .due(now_s * 1_000)
                .iter()
                .map(|at| at / 1_000)
                .collect();
            assert_eq!(
                (due.as_slice(), plan.missed),
                (expected, missed),
                "{catch_up:?} {now_s}"
            );
            assert!(plan.next > Some(now_s * 1_000));
            assert_eq!(plan.due(now_s * 1_000), [0; 0], "seen to already");
        };
        check(CatchUp::Once, 9, &[], 0);
        check(CatchUp::Once, 10, &[10], 0);
        check(CatchUp::Once, 35, &[30], 2);
        check(CatchUp::Skip, 35, &[30], 2);
        check(CatchUp::All, 35, &[10, 20, 30], 0);
        check(
            CatchUp::All,
            2_005,
            &(101..=200).map(|n| n * 10).collect::<Vec<_>>(),
            100,
        );
    }

    #[test]
    fn a_time_that_nobody_saw_to_within_a_minute_is_skipped() {
        let schedule = Schedule::every(Duration::from_secs(3_600)).sends("a", "b", &());
        let schedule = schedule.catch_up(CatchUp::Skip);
        let mut plan = schedule.plan(named("s").unwrap(), 0).unwrap();
        assert_eq!(plan.due(3_661_000), [0; 0]);
        assert_eq!((plan.missed, plan.next), (1, Some(7_200_000)));
        assert_eq!(plan.due(7_260_000), [7_200_000]);
    }

    #[test]
    fn times_within_a_pause_are_not_made_up_for() {
        let mut plan = plan(CatchUp::All);
        plan.pause();
        assert_eq!(plan.due(100_000), [0; 0]);
        plan.resume(100_000);
        assert_eq!(plan.next, Some(110_000));
        plan.remove();
        plan.resume(100_000);
        assert_eq!(plan.due(900_000), [0; 0]);
    }

    #[test]
    fn a_schedule_has_to_say_what_it_does() {
        let nothing = Schedule::every(Duration::from_secs(10));
        assert!(
            nothing
                .plan(named("s").unwrap(), 0)
                .unwrap_err()
                .contains("starts")
        );
    }
}
