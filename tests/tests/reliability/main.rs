//! What is promised about effects, retries and dead letters: real servers, real processes, real kills.
//!
//! One file for each promise. `peer` starts the processes that `mcpctl` has no word for.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cancel;
mod codes;
mod dead;
mod large;
mod once;
mod peer;
mod provoke;
mod timing;
mod window;

use std::{pin::Pin, time::Duration};

use tokio::{sync::RwLock, time::timeout};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Shared by the tests that load the machine, exclusive for the one that measures it: they run in one process.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Ends a test that hangs, with a message that says so. Boxed: a whole test is a large future.
fn bounded<'a>(
    limit: Duration,
    test: impl Future<Output = TestResult> + 'a,
) -> Pin<Box<dyn Future<Output = TestResult> + 'a>> {
    let test = Box::pin(test);
    Box::pin(async move {
        match timeout(limit, test).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done within {limit:?}").into()),
        }
    })
}
