//! The capacity of a receiver in bytes.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use mcp_agent_sdk::{Agent, Context, McpError, SendError, TestBroker, code};

use super::TestResult;

const KIB: usize = 1024;

/// What handlers hold, now and at most.
#[derive(Default)]
struct Meter {
    bytes: AtomicUsize,
    most: AtomicUsize,
    most_handlers: AtomicUsize,
    handlers: AtomicUsize,
}

async fn weigh(ctx: Context<Arc<Meter>>, body: String) -> Result<usize, McpError> {
    let meter = ctx.state();
    let bytes = meter.bytes.fetch_add(body.len(), Ordering::SeqCst) + body.len();
    meter.most.fetch_max(bytes, Ordering::SeqCst);
    let handlers = meter.handlers.fetch_add(1, Ordering::SeqCst) + 1;
    meter.most_handlers.fetch_max(handlers, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(30)).await;
    meter.handlers.fetch_sub(1, Ordering::SeqCst);
    meter.bytes.fetch_sub(body.len(), Ordering::SeqCst);
    Ok(body.len())
}

/// Sends bodies of this size all at once to an agent of this capacity in bytes and 32 handlers; returns what its handlers
/// held at most, in bytes and number.
async fn held(
    capacity: usize,
    size: usize,
    count: usize,
) -> Result<(usize, usize), Box<dyn std::error::Error>> {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let meter = Arc::new(Meter::default());
    let agent = Agent::with_state("scale", Arc::clone(&meter))
        .on("weigh", weigh)
        .capacity(32)
        .capacity_bytes(capacity);
    let _agent = agent.start(&client).await?;
    let sends = (0..count).map(|_| {
        client
            .send_command::<usize>("scale", "weigh", "x".repeat(size))
            .into_future()
    });
    for weighed in try_join_all(sends).await? {
        assert_eq!(weighed, size);
    }
    Ok((
        meter.most.load(Ordering::SeqCst),
        meter.most_handlers.load(Ordering::SeqCst),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_hold_no_more_bytes_than_the_capacity() -> TestResult {
    let (bytes, handlers) = held(512 * KIB, 100 * KIB, 20).await?;
    assert!(bytes <= 512 * KIB, "{bytes}");
    assert!(handlers >= 3, "room for five was hardly used: {handlers}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn claimed_bodies_count_and_one_beyond_the_capacity_runs_alone() -> TestResult {
    // Over 256 KiB they lie in the object store.
    let (bytes, handlers) = held(512 * KIB, 600 * KIB, 4).await?;
    assert_eq!((bytes, handlers), (600 * KIB, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn small_bodies_are_not_held_up() -> TestResult {
    let (_, handlers) = held(4096 * KIB, 100, 400).await?;
    // All but what chance leaves: the questions of the idle lanes take nothing away.
    assert!(handlers >= 28, "{handlers}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realtime_command_is_refused_when_the_bytes_are_full() -> TestResult {
    async fn hold(_: Context, body: String) -> Result<usize, McpError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(body.len())
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let agent = Agent::new("scale")
        .on("hold", hold)
        .capacity(32)
        .capacity_bytes(64 * KIB);
    let _agent = agent.start(&client).await?;
    let send = |size: usize| {
        client
            .send_command::<usize>("scale", "hold", "x".repeat(size))
            .realtime()
            .into_future()
    };
    let first = tokio::spawn(send(60 * KIB));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let SendError::Answered { error, .. } = send(8 * KIB).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!(error.code, code::OVERLOADED);
    assert!(error.retry_delay.is_some());
    assert_eq!(send(KIB).await?, KIB, "there is room for a small one");
    assert_eq!(first.await??, 60 * KIB);
    Ok(())
}
