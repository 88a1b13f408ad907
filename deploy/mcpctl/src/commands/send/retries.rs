//! How often and at what distance a command is tried again.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::{RetryConfig, runtime::resilience::Checked};

use crate::failure::Failure;

/// The options of the retry policy; temporary errors only are retried.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Retries {
    /// Retries of temporary errors: by this process (default 0), with --submit by the runtime (default 3)
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// The longest delay before the first retry; it doubles with each
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    base_delay: Duration,
    /// What the doubling stops at; the agent's own advice counts beyond it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    max_delay: Duration,
    /// The part of the delay that is random, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    jitter: f64,
}

impl Retries {
    /// The policy, within its bounds.
    pub(super) fn config(self, submit: bool) -> Result<RetryConfig, Failure> {
        let default = match submit {
            true => RetryConfig::default().max_retries,
            // One attempt: whoever wants more says so.
            false => 0,
        };
        let config = RetryConfig {
            max_retries: self.retries.unwrap_or(default),
            base_delay: self.base_delay,
            max_delay: self.max_delay,
            jitter: self.jitter,
        };
        match Checked::new(config) {
            Ok(_) => Ok(config),
            Err(error) => {
                let option = error.field.replace('_', "-");
                let sentence = format!(
                    "--{option} is {}, but must be {}",
                    error.value, error.bounds
                );
                Err(Failure::usage(
                    sentence
                        .replace('`', "")
                        .replace("base_delay", "--base-delay"),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_by_the_names_of_the_options() {
        let retries = Retries {
            retries: None,
            base_delay: Duration::from_secs(10),
            max_delay: Duration::from_secs(5),
            jitter: 1.0,
        };
        let sentence = retries.config(false).unwrap_err().sentence();
        assert_eq!(
            sentence,
            "--max-delay is 5s, but must be from --base-delay to 24 h"
        );
        let fit = Retries {
            base_delay: Duration::from_millis(1),
            ..retries
        };
        let most = |submit| fit.config(submit).unwrap().max_retries;
        assert_eq!((most(false), most(true)), (0, 3));
    }
}
