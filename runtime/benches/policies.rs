//! What the policies cost one command on the send path: `cargo bench -p mcp-runtime --bench policies`.
//!
//! In the order of the send path: an id by which the server recognises the message, the retry state, the breaker's permit,
//! the limiter, and after the reply the breaker's record, the limiter's signal and load, the retry budget. To stay under
//! 2 µs together. A loop and a median are all this needs, so there is no benchmark library.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use mcp_runtime::{
    Priority,
    resilience::{
        AdaptConfig, Advice, Checked, CircuitBreaker, LimiterConfig, LoadReport, Outcome,
        RateLimiter, RetryBudget, RetryConfig, RetryState, Signal,
    },
    transport::new_message_id,
};

/// Together they may cost so much, in nanoseconds.
const BOUND_NS: f64 = 2_000.0;

/// Enough that the clock's own cost and grain are nothing.
const COMMANDS: u32 = 50_000;

/// Odd, so that one is in the middle.
const ROUNDS: usize = 11;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What a client keeps of one target.
#[derive(Clone)]
struct Target<'a> {
    budget: &'a RetryBudget,
    breaker: &'a CircuitBreaker,
    limiter: RateLimiter,
    retry: Checked<RetryConfig>,
}

impl Target<'_> {
    /// One command that succeeds, as far as the policies are concerned; reads the clock where the send path does.
    async fn command(&self) {
        let began = Instant::now();
        let id = new_message_id();
        let retry = RetryState::new(self.retry, Some(began + TIMEOUT));
        black_box(format!("{id}.{}", retry.attempts()));
        let permit = self
            .breaker
            .admit(Instant::now())
            .expect("the breaker is closed");
        let passed = self
            .limiter
            .acquire(Priority::Normal, Some(began + TIMEOUT))
            .await;
        passed.expect("the limit is far away");
        let sent = Instant::now();
        // Here it would travel.
        let now = Instant::now();
        let took = now - sent;
        permit.record(Outcome::Success, took, now);
        self.limiter
            .observe(Priority::Normal, Signal::Done, took, now);
        self.limiter.observe_load(idle(), now);
        self.budget.succeed();
    }
}

fn idle() -> LoadReport {
    LoadReport {
        capacity: 64,
        utilization: 0.5,
        queue_wait_p95: Duration::from_millis(1),
    }
}

/// Nanoseconds of one call: the median of the rounds, and the distance between the fastest and the slowest.
async fn time(mut call: impl AsyncFnMut()) -> (f64, f64) {
    let mut rounds = Vec::new();
    for _ in 0..=ROUNDS {
        let began = Instant::now();
        for _ in 0..COMMANDS {
            call().await;
        }
        rounds.push(began.elapsed().as_nanos() as f64 / f64::from(COMMANDS));
    }
    // The first filled the caches.
    rounds.remove(0);
    rounds.sort_unstable_by(f64::total_cmp);
    (rounds[ROUNDS / 2], rounds[ROUNDS - 1] - rounds[0])
}

fn print(what: &str, (median, apart): (f64, f64)) {
    println!("{what:<52} {median:>7.0} ns  ± {:>4.0}", apart / 2.0);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (budget, breaker) = (RetryBudget::default(), CircuitBreaker::default());
    let target = Target {
        budget: &budget,
        breaker: &breaker,
        limiter: RateLimiter::default(),
        retry: Checked::default(),
    };
    let later = Instant::now() + TIMEOUT;
    print(
        "message id",
        time(async || drop(black_box(new_message_id()))).await,
    );
    let permit = async || {
        let permit = breaker
            .admit(Instant::now())
            .expect("the breaker is closed");
        permit.record(Outcome::Success, Duration::from_micros(400), Instant::now());
    };
    print("breaker: permit and record", time(permit).await);
    let pass = async || {
        let passed = target.limiter.acquire(Priority::Normal, Some(later)).await;
        black_box(passed).expect("there is no limit");
        let now = Instant::now();
        target.limiter.observe(
            Priority::Normal,
            Signal::Done,
            Duration::from_micros(400),
            now,
        );
        target.limiter.observe_load(idle(), now);
    };
    print(
        "limiter without a limit: pass, signal, load",
        time(pass).await,
    );
    let failure = async || {
        let mut retry = RetryState::new(target.retry, Some(later));
        black_box(retry.after_failure(Advice::TEMPORARY, &budget, Instant::now()));
        budget.succeed();
    };
    print("retry: decision after a failure", time(failure).await);
    let together = time(async || target.command().await).await;
    print("together, a command that succeeds", together);
    let adapt = AdaptConfig {
        max_rate: Some(1e9),
        ..AdaptConfig::default()
    };
    let config = LimiterConfig {
        adapt,
        ..LimiterConfig::default()
    };
    let limited = Target {
        limiter: RateLimiter::new(Checked::new(config).expect("a high limit is a limit")),
        ..target
    };
    let limited = time(async || limited.command().await).await;
    print("together, under a limit that is not reached", limited);
    let worst = together.0.max(limited.0);
    let verdict = if worst < BOUND_NS { "under" } else { "OVER" };
    println!("policies: {worst:.0} ns a command, {verdict} the bound of {BOUND_NS:.0} ns");
}
