//! What waits for its turn inside an agent, behind its action's own limit or its key, holds up nobody else.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mcp_agent_sdk::{Agent, Context, McpError, SendError, TestBroker, code};
use tokio::sync::Semaphore;

use super::TestResult;

/// How long a slow command takes.
const SLOW: Duration = Duration::from_millis(150);

struct Stage {
    ended: AtomicUsize,
    open: Semaphore,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ended: AtomicUsize::new(0),
            open: Semaphore::new(0),
        })
    }
}

async fn slow(ctx: Context<Arc<Stage>>, _: usize) -> Result<(), McpError> {
    tokio::time::sleep(SLOW).await;
    ctx.state().ended.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Waits for the stage to open, where it is told to.
async fn gated(ctx: Context<Arc<Stage>>, waits: bool) -> Result<usize, McpError> {
    if waits {
        let opened = ctx.state().open.acquire().await;
        opened.expect("it is never closed").forget();
    }
    Ok(ctx.state().ended.fetch_add(1, Ordering::SeqCst))
}

async fn quick(_: Context<Arc<Stage>>, _: ()) -> Result<(), McpError> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_action_leaves_room_for_the_others() -> TestResult {
    const ALL: usize = 40;
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let stage = Stage::new();
    let agent = Agent::with_state("worker", Arc::clone(&stage))
        .on("slow", slow)
        .on("quick", quick)
        .limit("slow", 2)
        .capacity(4);
    let _agent = agent.start(&client).await?;
    let began = Instant::now();
    let slow_ones = (0..ALL).map(|n| client.send_command::<()>("worker", "slow", n).into_future());
    let slow_ones = tokio::spawn(join_all(slow_ones));
    tokio::time::sleep(SLOW).await;
    client.send_command::<()>("worker", "quick", ()).await?;
    let ended = stage.ended.load(Ordering::SeqCst);
    assert!(ended <= ALL / 2, "{ended} slow ones were done before");
    for outcome in slow_ones.await? {
        outcome?;
    }
    // All of them, once each, two at a time.
    assert_eq!(stage.ended.load(Ordering::SeqCst), ALL);
    let took = began.elapsed();
    assert!(took >= SLOW * (ALL as u32 / 2), "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_of_a_running_key_hold_nobody_up() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let stage = Stage::new();
    let agent = Agent::with_state("worker", Arc::clone(&stage))
        .on("gated", gated)
        .limit("gated", 2)
        .capacity(4);
    let _agent = agent.start(&client).await?;
    let same = (0..20).map(|_| {
        let send = client.send_command::<usize>("worker", "gated", true);
        send.idempotency_key("k").into_future()
    });
    let same = tokio::spawn(join_all(same));
    tokio::time::sleep(Duration::from_millis(300)).await;
    // One of its two places is free, and so are handlers.
    let other = client.send_command::<usize>("worker", "gated", false);
    let first = other.timeout(Duration::from_secs(5)).await?;
    assert_eq!(first, 0, "the gate is shut");
    stage.open.add_permits(20);
    for outcome in same.await? {
        assert_eq!(outcome?, 1, "all get the answer of the one execution");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_action_says_so_for_itself_alone() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let stage = Stage::new();
    let agent = Agent::with_state("worker", Arc::clone(&stage))
        .on("gated", gated)
        .limit("gated", 1)
        .capacity(4);
    let _agent = agent.start(&client).await?;
    let waiting = (0..4).map(|_| {
        let send = client.send_command::<usize>("worker", "gated", true);
        send.into_future()
    });
    let waiting = tokio::spawn(join_all(waiting));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = client.send_command::<usize>("worker", "gated", true);
    let refused = refused.realtime().await.unwrap_err();
    let SendError::Answered { error, .. } = &refused else {
        panic!("no answer: {refused}")
    };
    assert_eq!(error.code, code::OVERLOADED);
    assert_eq!(error.details["limit_on"], "gated");
    stage.open.add_permits(4);
    for outcome in waiting.await? {
        outcome?;
    }
    Ok(())
}
