//! When a retry comes, seen by the handler that failed: never sooner than advised, and hardly later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use mcp_agent_sdk::{Agent, Client, Context, McpError, RetryConfig, TestBroker};
use mcp_tests::PATIENCE;
use serde::{Deserialize, Serialize};

use crate::{MACHINE, TestResult, bounded};

/// A busy machine may be late for once, but not in each of so many measurements. It is never too soon.
const MEASUREMENTS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Retrier {
    Requester,
    Runtime,
}

/// How long each retry is to wait, and who says so.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// The handler's advice, far above the requester's own delay.
    Advised(u64),
    /// The requester's base delay, without jitter or advice: it doubles.
    Doubling(u64),
}

#[derive(Clone, Copy)]
struct Case {
    retrier: Retrier,
    wait: Wait,
    failures: usize,
}

const fn case(retrier: Retrier, wait: Wait, failures: usize) -> Case {
    Case {
        retrier,
        wait,
        failures,
    }
}

const CASES: [Case; 9] = [
    case(Retrier::Requester, Wait::Advised(50), 5),
    case(Retrier::Requester, Wait::Advised(300), 5),
    case(Retrier::Requester, Wait::Advised(2_000), 2),
    case(Retrier::Requester, Wait::Doubling(100), 4),
    case(Retrier::Runtime, Wait::Advised(50), 5),
    case(Retrier::Runtime, Wait::Advised(300), 5),
    case(Retrier::Runtime, Wait::Advised(4_000), 1),
    case(Retrier::Runtime, Wait::Doubling(100), 4),
    // Above 5 s the runtime sends a delayed command instead of holding the message back.
    case(Retrier::Runtime, Wait::Advised(6_000), 1),
];

impl Wait {
    fn before_retry(self, retry: usize) -> Duration {
        Duration::from_millis(match self {
            Self::Advised(ms) => ms,
            Self::Doubling(ms) => ms << retry,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    case: usize,
    failures: usize,
    advice_ms: Option<u64>,
}

/// When each call began, and when it had failed.
type Calls = Arc<Mutex<HashMap<usize, Vec<(Instant, Instant)>>>>;

async fn fail(ctx: Context<Calls>, order: Order) -> Result<(), McpError> {
    let began = Instant::now();
    let mut calls = ctx.state().lock().unwrap();
    let calls = calls.entry(order.case).or_default();
    let mut error = McpError::temporary("NOT_YET");
    error.retry_delay = order.advice_ms.map(Duration::from_millis);
    calls.push((began, Instant::now()));
    match calls.len() > order.failures {
        true => Ok(()),
        false => Err(error),
    }
}

async fn run(client: &Client, index: usize) -> TestResult {
    let Case {
        retrier,
        wait,
        failures,
    } = CASES[index];
    let (base, advice_ms) = match wait {
        Wait::Advised(ms) => (1, Some(ms)),
        Wait::Doubling(ms) => (ms, None),
    };
    let retry = RetryConfig {
        max_retries: 9,
        base_delay: Duration::from_millis(base),
        max_delay: Duration::from_secs(60),
        jitter: if advice_ms.is_some() { 1.0 } else { 0.0 },
    };
    let order = Order {
        case: index,
        failures,
        advice_ms,
    };
    match retrier {
        Retrier::Requester => {
            client
                .send_command("flaky", "fail", order)
                .retry(retry)
                .timeout(PATIENCE)
                .await?
        }
        Retrier::Runtime => {
            let submitted = client
                .submit_command("flaky", "fail", order)
                .retry(retry)
                .await?;
            submitted.outcome(PATIENCE).await?
        }
    }
    Ok(())
}

/// Runs all cases at once and returns the waits that took too long.
async fn measure() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let calls = Calls::default();
    let _agents = [
        Agent::with_state("flaky", Arc::clone(&calls))
            .on("fail", fail)
            .start(&client)
            .await?,
        Agent::with_state("flaky", Arc::clone(&calls))
            .on("fail", fail)
            .start(&client)
            .await?,
    ];
    try_join_all((0..CASES.len()).map(|index| run(&client, index))).await?;
    let mut late = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let calls = calls.lock().unwrap().remove(&index).unwrap();
        assert_eq!(calls.len(), case.failures + 1);
        for (retry, pair) in calls.windows(2).enumerate() {
            let (due, waited) = (case.wait.before_retry(retry), pair[1].0 - pair[0].1);
            let seen = format!(
                "{:?}, {:?}: retry {retry} after {waited:?}",
                case.retrier, case.wait
            );
            assert!(waited >= due, "too soon: {seen}");
            if waited > due.mul_f64(1.2).max(due + Duration::from_millis(250)) {
                late.push(seen);
            }
        }
    }
    Ok(late)
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_come_never_sooner_than_advised_and_hardly_later() -> TestResult {
    let _alone = MACHINE.write().await;
    bounded(Duration::from_secs(120), async {
        let mut late = Vec::new();
        for _ in 0..MEASUREMENTS {
            late = measure().await?;
            if late.is_empty() {
                return Ok(());
            }
        }
        Err(format!("too late, {MEASUREMENTS} times in a row: {late:#?}").into())
    })
    .await
}
