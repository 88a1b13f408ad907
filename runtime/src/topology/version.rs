//! Which server is new enough: a pure comparison of versions.

use std::fmt;

/// The version of a nats-server, `major.minor.patch`. A pre-release counts as its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

impl ServerVersion {
    /// The oldest server with all that the protocol needs: message schedules came with 2.12.
    pub const MINIMUM: Self = Self {
        major: 2,
        minor: 12,
        patch: 0,
    };

    /// Reads `2.15.1`, `v2.15.1`, `2.12.0-RC.3` or `2.15`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let release = text
            .strip_prefix('v')
            .unwrap_or(text)
            .split(['-', '+'])
            .next()?;
        let mut numbers = release.split('.').map(|number| number.parse::<u16>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = numbers.next().unwrap_or(Some(0))?;
        numbers.next().is_none().then_some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerVersion;

    #[test]
    fn versions_are_read_or_refused() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                ServerVersion::parse(text).map(|v| v.to_string()).as_deref(),
                expected,
                "{text}"
            );
        };
        check("2.15.1", Some("2.15.1"));
        check("v2.9.10", Some("2.9.10"));
        check("2.12.0-RC.3", Some("2.12.0"));
        check("2.12.0-beta+build.7", Some("2.12.0"));
        check("2.15", Some("2.15.0"));
        for nonsense in [
            "",
            "v",
            "2",
            "2.x.1",
            "2.12.",
            "2.12.0.1",
            "-2.12.0",
            "2.99999999.0",
            "hello",
        ] {
            check(nonsense, None);
        }
    }

    #[test]
    fn only_servers_from_2_12_on_are_new_enough() {
        let check = |text: &str, enough: bool| {
            assert_eq!(
                ServerVersion::parse(text).unwrap() >= ServerVersion::MINIMUM,
                enough,
                "{text}"
            );
        };
        check("2.11.99", false);
        check("2.9.25", false);
        check("1.99.0", false);
        check("2.12.0", true);
        check("2.12.0-RC.1", true);
        check("2.100.0", true);
        check("3.0.0", true);
    }
}
