//! What is promised about workflows: real servers, real engines in processes of their own, real kills.
//!
//! One file for each promise. `scene` is the stage: a server, the probe's pipeline, and what can be seen of it
//! afterwards; `author` has the agents of the tests that bring definitions of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

// Release builds have no failpoints.
#[cfg(debug_assertions)]
mod at_the_desk;
mod author;
mod children;
mod compensation;
mod crowd;
mod during;
mod face;
#[cfg(debug_assertions)]
mod failpoints;
mod failure;
mod family;
mod hooks;
mod migrate;
mod parallel;
mod repair;
mod scene;
mod schedules;
mod spaces;
mod survives;
mod timers;
mod versions;
mod zombie;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::timeout;

type TestResult = Result<(), Box<dyn std::error::Error>>;

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
