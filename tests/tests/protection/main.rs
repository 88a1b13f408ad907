//! Breakers and limits in the send path: what a dead target costs, and how traffic comes back.

mod advice;
mod breakers;
mod bulkheads;
mod bytes;
mod lanes;
mod overload;

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, RetryConfig, SendError, TestBroker, code,
    runtime::resilience::{BreakerConfig, BreakerState},
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const OPEN_TIME: Duration = Duration::from_secs(1);

async fn double(_: Context, n: u32) -> Result<u32, McpError> {
    Ok(2 * n)
}

async fn careful_client(broker: &TestBroker) -> Result<Client, Box<dyn std::error::Error>> {
    let breaker = BreakerConfig {
        open_for: OPEN_TIME,
        slow_call: None,
        ..BreakerConfig::default()
    };
    Ok(Client::connect(Config::new(broker.url()).name("test").breaker(breaker)).await?)
}

async fn stored(client: &Client) -> Result<u64, Box<dyn std::error::Error>> {
    let stream = client.jetstream().get_stream("mcp_commands").await?;
    Ok(stream.get_info().await?.state.last_sequence)
}

/// Sends so many commands that nobody answers.
async fn trip(client: &Client, count: usize) {
    let send = || {
        client
            .send_command::<u32>("worker", "double", 1)
            .timeout(Duration::from_millis(150))
    };
    join_all((0..count).map(|_| async { send().await.expect_err("nobody answers") })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_target_costs_next_to_nothing_and_traffic_comes_back() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = careful_client(&broker).await?;
    trip(&client, 25).await;
    let before = stored(&client).await?;
    let mut refusals = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let error = client
            .send_command::<u32>("worker", "double", 1)
            .await
            .unwrap_err();
        refusals.push(began.elapsed());
        assert_eq!(error.code(), code::CIRCUIT_OPEN);
        let advice = error
            .to_mcp_error()
            .retry_delay
            .expect("it says when to come back");
        assert!(advice <= OPEN_TIME * 2, "{advice:?}");
    }
    refusals.sort_unstable();
    assert!(
        refusals[100] < Duration::from_millis(1),
        "{:?}",
        refusals[100]
    );
    assert_eq!(stored(&client).await?, before, "nothing is published");

    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    let back = Instant::now();
    let mut succeeded = 0;
    while back.elapsed() < OPEN_TIME * 5 && succeeded < 20 {
        match client
            .send_command::<u32>("worker", "double", 4)
            .timeout(Duration::from_secs(1))
            .await
        {
            Ok(_) => succeeded += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    assert_eq!(succeeded, 20, "traffic is back");
    // One open time, a fifth longer at most, and the probes.
    assert!(back.elapsed() < OPEN_TIME * 2, "{:?}", back.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_is_back_to_nine_tenths_within_two_open_periods() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = careful_client(&broker).await?;
    trip(&client, 25).await;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    let back = Instant::now();
    let send = async || {
        let send = client.send_command::<u32>("worker", "double", 1);
        send.timeout(Duration::from_secs(1)).await.is_ok()
    };
    // Steady traffic, whatever becomes of it.
    let mut sent = Vec::new();
    while back.elapsed() < 2 * OPEN_TIME {
        sent.push(send().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!sent[0], "the breaker was open: {sent:?}");
    let mut done = 0;
    for _ in 0..100 {
        done += u32::from(send().await);
    }
    assert!(done >= 90, "{done} of 100");
    Ok(())
}

/// Cancels a hundred callers at once, a moment after they began; tells how many had sent their command by then. The
/// others were refused.
async fn cancel_a_hundred(client: &Client) -> usize {
    let cancelled = (0..100).map(|_| {
        let send = client
            .send_command::<u32>("worker", "double", 1)
            .timeout(Duration::from_secs(5));
        tokio::time::timeout(Duration::from_millis(50), send.into_future())
    });
    let ended = join_all(cancelled).await;
    ended.iter().filter(|ended| ended.is_err()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_callers_leak_no_permit() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = careful_client(&broker).await?;
    assert_eq!(cancel_a_hundred(&client).await, 100);
    let breaker = client.breakers().remove(0);
    assert_eq!((breaker.state, breaker.calls), (BreakerState::Closed, 0));
    trip(&client, 25).await;
    tokio::time::sleep(OPEN_TIME + OPEN_TIME / 2).await;
    // Half-open now: as many as there are probes, and those are there again each time.
    for _ in 0..3 {
        assert_eq!(cancel_a_hundred(&client).await, 3);
    }
    assert_eq!(client.breakers()[0].state, BreakerState::HalfOpen);
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    for n in 0..5 {
        let doubled: u32 = client
            .send_command("worker", "double", n)
            .timeout(Duration::from_secs(5))
            .await?;
        assert_eq!(doubled, 2 * n);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_beyond_all_clocks_is_for_ever() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    let send = client.send_command::<u32>("worker", "double", 1);
    let send = send.timeout(Duration::MAX).attempt_timeout(Duration::MAX);
    assert_eq!(send.await?, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_real_error_is_told_when_the_breaker_ends_the_retries() -> TestResult {
    async fn refuse(_: Context, _: ()) -> Result<u32, McpError> {
        Err(McpError::temporary("GPU_BUSY"))
    }
    let broker = TestBroker::start().await?;
    let client = careful_client(&broker).await?;
    let _agent = Agent::new("worker")
        .on("refuse", refuse)
        .start(&client)
        .await?;
    let retry = RetryConfig {
        max_retries: 60,
        base_delay: Duration::from_millis(1),
        jitter: 0.0,
        max_delay: Duration::from_millis(2),
    };
    let send = client
        .send_command::<u32>("worker", "refuse", ())
        .retry(retry)
        .timeout(Duration::from_millis(700));
    let SendError::Answered { error, .. } = send.await.unwrap_err() else {
        panic!("the answer is lost")
    };
    assert_eq!(
        (error.code.as_str(), &error.details["refused"]),
        ("GPU_BUSY", &code::CIRCUIT_OPEN.into())
    );
    Ok(())
}
