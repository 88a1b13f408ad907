//! When a schedule fires: pure, by Unix milliseconds.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// The shortest interval: the server's timers are late by up to a quarter of a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Times {
    /// Every so often, counted from a time.
    Every { every_ms: u64, from_ms: u64 },
    /// By a cron expression on the clocks of a time zone.
    Cron { cron: String, zone: String },
}

impl Times {
    /// # Errors
    /// In words, when the interval is too short or long, or expression or zone cannot be read.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Every { every_ms, .. } => {
                let every = Duration::from_millis(*every_ms);
                match every < SHORTEST || *every_ms > i64::MAX as u64 {
                    true => Err(format!("the interval is {every:?}; it must be at least 1s")),
                    false => Ok(()),
                }
            }
            Self::Cron { cron, zone } => {
                self::zone(zone)?;
                expression(cron)?;
                match self.next(0) {
                    Some(_) => Ok(()),
                    None => Err(format!("`{cron}` never comes")),
                }
            }
        }
    }

    /// The first time after `after_ms`; `None` when there is none.
    pub(crate) fn next(&self, after_ms: u64) -> Option<u64> {
        match self {
            Self::Every { every_ms, from_ms } => {
                let passed = after_ms.checked_sub(*from_ms);
                let periods = passed.map_or(0, |passed| passed / (*every_ms).max(1) + 1);
                periods.checked_mul(*every_ms)?.checked_add(*from_ms)
            }
            Self::Cron { cron, zone } => {
                let (cron, zone) = (expression(cron).ok()?, self::zone(zone).ok()?);
                let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
                let next: Zoned = cron
                    .find_next_occurrence(&after.to_zoned(zone), false)
                    .ok()?;
                u64::try_from(next.timestamp().as_millisecond()).ok()
            }
        }
    }

    /// The times from `first_ms` to `now_ms`, both included, the oldest first: the last `most` of them, and how many there
    /// were before those.
    pub(crate) fn due(&self, first_ms: u64, now_ms: u64, most: usize) -> (Vec<u64>, u64) {
        /// So many missed times are counted; an outage that misses more is told as this many.
        const COUNTED: u64 = 100_000;
        let mut due = std::collections::VecDeque::new();
        let (mut at, mut left_out) = (Some(first_ms), 0);
        if let Self::Every { every_ms, .. } = self {
            // The last ones are known without going through the others.
            let passed = now_ms.saturating_sub(first_ms) / (*every_ms).max(1);
            left_out = passed.saturating_sub(most.max(1) as u64);
            at = left_out
                .checked_mul(*every_ms)
                .and_then(|ms| first_ms.checked_add(ms));
            left_out = left_out.min(COUNTED - 1 - most as u64);
        }
        while let Some(time) = at.filter(|time| *time <= now_ms && left_out < COUNTED) {
            due.push_back(time);
            if due.len() > most {
                due.pop_front();
                left_out += 1;
            }
            at = self.next(time);
        }
        (due.into(), left_out)
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Every { every_ms, .. } => format!("every {:?}", Duration::from_millis(*every_ms)),
            Self::Cron { cron, zone } => format!("{cron} ({zone})"),
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("there is no time zone `{name}`; take a name such as Europe/Berlin or UTC")
    })
}

/// Five fields, as everywhere; a sixth would be seconds, which the timers do not keep well.
fn expression(cron: &str) -> Result<Cron, String> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(cron).map_err(|error| {
        format!(
            "`{cron}` is no cron expression of 5 fields (minute hour day month weekday): {error}"
        )
    })
}

/// `20261125T090000Z`: a time as it can be part of an id.
pub(crate) fn stamp(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) if unix_ms.is_multiple_of(1_000) => time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        _ => unix_ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: &str) -> u64 {
        let time: Timestamp = time.parse().unwrap();
        u64::try_from(time.as_millisecond()).unwrap()
    }

    fn cron(cron: &str, zone: &str) -> Times {
        let (cron, zone) = (cron.to_owned(), zone.to_owned());
        Times::Cron { cron, zone }
    }

    #[test]
    fn of_more_missed_times_than_are_counted_the_last_are_made_up_for() {
        let every = Times::Every {
            every_ms: 1_000,
            from_ms: 5_000,
        };
        let days = 3 * 86_400_000;
        let (due, left_out) = every.due(5_000, days + 5_999, 2);
        assert_eq!(due, [days + 4_000, days + 5_000]);
        assert!(left_out > 90_000, "{left_out}");
        assert_eq!(every.due(5_000, 4_999, 2), (Vec::new(), 0));
        assert_eq!(every.due(5_000, 6_500, 5), (vec![5_000, 6_000], 0));
    }

    #[test]
    fn the_next_time_is_found_on_the_clocks_of_the_zone() {
        let check = |expression: &str, zone: &str, after: &str, expected: &str| {
            let next = cron(expression, zone).next(ms(after)).unwrap();
            assert_eq!(next, ms(expected), "{expression} in {zone} after {after}");
        };
        check(
            "0 9 * * *",
            "UTC",
            "2026-11-25T08:59:59Z",
            "2026-11-25T09:00:00Z",
        );
        check(
            "0 9 * * *",
            "UTC",
            "2026-11-25T09:00:00Z",
            "2026-11-26T09:00:00Z",
        );
        check(
            "0 9 * * *",
            "Europe/Berlin",
            "2026-11-25T00:00:00Z",
            "2026-11-25T08:00:00Z",
        );
        check(
            "0 9 * * *",
            "Europe/Berlin",
            "2026-07-25T00:00:00Z",
            "2026-07-25T07:00:00Z",
        );
        check(
            "*/15 * * * *",
            "UTC",
            "2026-11-25T09:01:00Z",
            "2026-11-25T09:15:00Z",
        );
        check(
            "0 0 * * MON",
            "UTC",
            "2026-11-25T09:01:00Z",
            "2026-11-30T00:00:00Z",
        );
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-11-25T09:01:00Z",
            "2028-02-29T00:00:00Z",
        );
    }

    #[test]
    fn a_daily_time_comes_once_a_day_also_when_the_clocks_change() {
        // 2:30 does not exist on 2026-03-29 in Berlin, and twice on 2026-10-25.
        for (expression, from, to) in [
            ("30 2 * * *", "2026-03-27T12:00:00Z", "2026-04-01T12:00:00Z"),
            ("30 2 * * *", "2026-10-23T12:00:00Z", "2026-10-28T12:00:00Z"),
        ] {
            let times = cron(expression, "Europe/Berlin");
            let first = times.next(ms(from)).unwrap();
            let (due, _) = times.due(first, ms(to), 100);
            let days: std::collections::BTreeSet<String> =
                due.iter().map(|at| stamp(*at)[..8].to_owned()).collect();
            assert!((4..=5).contains(&due.len()), "{due:?}");
            assert_eq!(days.len(), due.len(), "twice on one day: {days:?}");
        }
    }

    #[test]
    fn intervals_are_counted_from_their_beginning() {
        let times = Times::Every {
            every_ms: 10,
            from_ms: 105,
        };
        for (after, expected) in [(0, 105), (104, 105), (105, 115), (114, 115), (115, 125)] {
            assert_eq!(times.next(after), Some(expected), "after {after}");
        }
        assert_eq!(times.due(115, 150, 2), (vec![135, 145], 2));
        assert_eq!(times.due(115, 114, 2), (vec![], 0));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let check = |times: Times, expected: &str| {
            let error = times.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(cron("0 9 * *", "UTC"), "5 fields");
        check(cron("0 0 9 * * *", "UTC"), "5 fields");
        check(cron("61 9 * * *", "UTC"), "5 fields");
        check(cron("0 9 * * *", "Berlin"), "time zone `Berlin`");
        check(cron("0 0 31 2 *", "UTC"), "never");
        check(
            Times::Every {
                every_ms: 999,
                from_ms: 0,
            },
            "at least 1s",
        );
        assert_eq!(cron("@daily", "UTC").check(), Ok(()));
    }

    #[test]
    fn stamps_are_part_of_an_id() {
        assert_eq!(stamp(ms("2026-11-25T09:00:00Z")), "20261125T090000Z");
        assert_eq!(stamp(1_500), "1500");
    }
}
