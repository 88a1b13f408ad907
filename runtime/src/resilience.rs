//! The policies that keep a busy, slow or dead target from hurting its callers, and the callers from hurting it.
//!
//! Each is a plain value with explicit time: it takes `now`, touches neither network nor clock, knows none of the
//! others and can be used on its own. The order in which they apply is the send path's business, not theirs.
//!
//! | question | policy | configured by |
//! |---|---|---|
//! | retry, and when? | [`RetryState`] | [`RetryConfig`] |
//! | may this target get another retry at all? | [`RetryBudget`] | [`BudgetConfig`] |
//! | is the target alive? | [`CircuitBreaker`] | [`BreakerConfig`] |
//! | may this command leave now? | [`RateLimiter`], [`TokenBucket`] | [`LimiterConfig`] |
//! | how fast does the target want it? | [`RateAdapter`] | [`AdaptConfig`] |
//! | which lane is next? | [`LaneScheduler`] | [`LaneFloors`] |
//!
//! A configuration is checked once, into a [`Checked`] one; only that builds a policy. The one place that reads the
//! clock is the waiting in [`RateLimiter::acquire`], a thin shell around a pure queue.

mod adapt;
mod backoff;
mod breaker;
mod bucket;
mod budget;
mod config;
mod lanes;
mod limiter;
mod refusal;
mod retry;
mod window;

pub use adapt::{AdaptConfig, LoadReport, RateAdapter, Signal};
pub use backoff::RetryConfig;
pub use breaker::{
    BreakerConfig, BreakerSnapshot, BreakerState, CircuitBreaker, Outcome, Permit, Transition,
    TransitionCause,
};
pub use bucket::TokenBucket;
pub use budget::{BudgetConfig, RetryBudget};
pub use config::{Checked, InvalidConfig, Validate};
pub use lanes::{LaneFloors, LaneScheduler};
pub use limiter::{LimiterConfig, LimiterSnapshot, RateLimiter};
pub use refusal::{Refusal, RefusalReason};
pub use retry::{Advice, Decision, RetryState, StopReason};

/// Some instant to count from: tests of policies make up the rest of their time.
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "an `Instant` cannot be made up from nothing"
)]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// All Rust files under a folder, but those of tests.
    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                sources(&path, found);
            } else if !name.ends_with("tests.rs") && !name.ends_with("simulation.rs") {
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn no_policy_reads_the_clock_but_the_waiting_of_the_limiter() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resilience");
        let mut found = Vec::new();
        sources(&folder, &mut found);
        assert!(found.len() > 15, "the policies have moved");
        let mut readers = Vec::new();
        for (name, text) in found {
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let reads = code.lines().filter(|line| {
                let line = line.trim_start();
                let is_code = !line.starts_with("//");
                is_code
                    && (line.contains("Instant::now")
                        || line.contains(".elapsed()")
                        || line.contains("SystemTime"))
            });
            readers.extend(reads.map(|_| name.clone()));
        }
        let limiter = folder.join("limiter.rs").display().to_string();
        assert_eq!(readers, [limiter]);
    }
}
