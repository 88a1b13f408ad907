//! What a check says.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It works, but somebody should look.
    Warn,
    /// It does not work.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at.
    pub(super) subject: String,
    pub(super) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject.into(), text.into())
    }

    pub(super) fn warn(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Warn, subject.into(), text.into())
    }

    pub(super) fn fail(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Fail, subject.into(), text.into())
    }

    fn new(level: Level, subject: String, text: String) -> Self {
        Self {
            level,
            subject,
            text,
            remedy: None,
        }
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Of a quantity that has a limit: full is a failure, nearly full a warning.
    pub(super) fn of_usage(
        subject: impl Into<String>,
        text: String,
        used: u64,
        limit: u64,
    ) -> Self {
        // In whole percent, wide enough that no multiplication overflows.
        let percent = u128::from(used) * 100 / u128::from(limit.max(1));
        match percent {
            0..80 => Self::ok(subject, text),
            80..95 => Self::warn(subject, text),
            _ => Self::fail(subject, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_full_is_a_warning_and_full_a_failure() {
        let check = |used: u64, limit: u64, level: Level| {
            assert_eq!(
                Finding::of_usage("x", String::new(), used, limit).level,
                level,
                "{used}/{limit}"
            );
        };
        check(79, 100, Level::Ok);
        check(80, 100, Level::Warn);
        check(95, 100, Level::Fail);
        check(u64::MAX, u64::MAX, Level::Fail);
        check(0, 0, Level::Ok);
    }
}
