//! Numbers as people read them.

use std::time::Duration;

use time::OffsetDateTime;

/// A size such as `3.4 MiB`.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{size} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// A number in at most four columns, as long as it is below ten thousand million: `7`, `9999`, `12k`, `3M`.
pub(crate) fn brief(number: u64) -> String {
    const UNITS: [&str; 4] = ["", "k", "M", "G"];
    let (mut value, mut unit) = (number, 0);
    while value > 9_999 && unit + 1 < UNITS.len() {
        value /= 1_000;
        unit += 1;
    }
    match unit {
        0 => value.to_string(),
        // Three digits and the unit.
        _ if value > 999 && unit + 1 < UNITS.len() => {
            format!("{}{}", value / 1_000, UNITS[unit + 1])
        }
        _ => format!("{value}{}", UNITS[unit]),
    }
}

/// A span in its two largest units: `3d 4h`, `2m 5s`, `7s`, `340ms`.
pub(crate) fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    let pair = |large: u64, small: u64, names: [&str; 2]| match (seconds % large) / small {
        0 => format!("{}{}", seconds / large, names[0]),
        rest => format!("{}{} {rest}{}", seconds / large, names[0], names[1]),
    };
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => pair(60, 1, ["m", "s"]),
        3_600..86_400 => pair(3_600, 60, ["h", "m"]),
        _ => pair(86_400, 3_600, ["d", "h"]),
    }
}

/// Unix milliseconds as `2026-01-31 12:00:00.250Z`.
pub(crate) fn utc(unix_ms: u64) -> String {
    // A time that is none, from a careless peer, is shown as the number it is.
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
    else {
        return unix_ms.to_string();
    };
    let (date, clock, ms) = (time.date(), time.time(), time.millisecond());
    let (hour, minute, second) = clock.as_hms();
    format!("{date} {hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let check = |size: u64, expected: &str| assert_eq!(bytes(size), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(5 * 1024 * 1024, "5.0 MiB");
        check(u64::MAX, "16777216.0 TiB");
    }

    #[test]
    fn numbers_fit_into_four_columns() {
        let check = |number: u64, expected: &str| assert_eq!(brief(number), expected);
        check(0, "0");
        check(9_999, "9999");
        check(12_345, "12k");
        check(999_999, "999k");
        check(1_234_567, "1M");
        check(4_500_000_000, "4G");
    }

    #[test]
    fn spans_have_two_units() {
        let check = |ms: u64, expected: &str| assert_eq!(age(Duration::from_millis(ms)), expected);
        check(340, "340ms");
        check(7_900, "7s");
        check(60_000, "1m");
        check(125_000, "2m 5s");
        check(3_660_000, "1h 1m");
        check(273_600_000, "3d 4h");
    }

    #[test]
    fn times_are_utc_and_nonsense_is_shown_as_it_is() {
        assert_eq!(utc(1_793_708_400_250), "2026-11-03 12:20:00.250Z");
        assert_eq!(utc(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }
}
