//! Retries by the requester and by the runtime, advice, fallbacks, outcomes and cancellation.

use std::{
    future::IntoFuture,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_agent_sdk::{
    Agent, Client, Context, McpError, Recovery, RetryConfig, SendError, TestBroker, code,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Fails the first so many calls, and notes when each came.
#[derive(Default)]
struct Flaky {
    calls: Mutex<Vec<Instant>>,
}

async fn flaky(ctx: Context<Flaky>, fails: usize) -> Result<usize, McpError> {
    let calls = {
        let mut calls = ctx.state().calls.lock().expect("no handler panics");
        calls.push(Instant::now());
        calls.len()
    };
    match calls > fails {
        true => Ok(calls),
        false => Err(McpError::temporary("NOT_YET").retry_after(Duration::from_millis(300))),
    }
}

fn worker() -> Agent<Flaky> {
    Agent::with_state("worker", Flaky::default())
        .on("flaky", flaky)
        .on("calls", async |ctx: Context<Flaky>, _: ()| {
            Ok(ctx.state().calls.lock().expect("no handler panics").len())
        })
}

fn retries(max_retries: u32) -> RetryConfig {
    RetryConfig {
        max_retries,
        base_delay: Duration::from_millis(10),
        ..RetryConfig::default()
    }
}

async fn started() -> Result<(TestBroker, Client), Box<dyn std::error::Error>> {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    Ok((broker, client))
}

#[tokio::test]
async fn the_requester_retries_and_never_sooner_than_advised() -> TestResult {
    let (_broker, client) = started().await?;
    let _agent = worker().start(&client).await?;
    let began = Instant::now();
    let calls: usize = client
        .send_command("worker", "flaky", 2)
        .retry(retries(5))
        .await?;
    assert_eq!(calls, 3);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(600) && took < Duration::from_millis(1200),
        "{took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_last_error_is_reported_with_the_number_of_attempts() -> TestResult {
    let (_broker, client) = started().await?;
    let _agent = worker().start(&client).await?;
    let error = client
        .send_command::<usize>("worker", "flaky", 9)
        .retry(retries(2))
        .await
        .unwrap_err();
    let SendError::Answered {
        error, attempts, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((error.code.as_str(), attempts), ("NOT_YET", 3));
    let late = client
        .send_command::<usize>("worker", "flaky", 99)
        .retry(retries(9))
        .timeout(Duration::from_millis(500));
    let began = Instant::now();
    assert!(late.await.is_err());
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "the deadline is never overrun"
    );
    Ok(())
}

#[tokio::test]
async fn permanent_errors_are_not_retried_and_advice_narrows() -> TestResult {
    async fn refuse(ctx: Context<AtomicU32>, permanent: bool) -> Result<(), McpError> {
        ctx.state().fetch_add(1, Ordering::SeqCst);
        Err(match permanent {
            true => McpError::permanent("NO"),
            false => McpError::temporary("LATER").max_retries(1),
        })
    }
    async fn calls(ctx: Context<AtomicU32>, _: ()) -> Result<u32, McpError> {
        Ok(ctx.state().swap(0, Ordering::SeqCst))
    }
    let (_broker, client) = started().await?;
    let agent = Agent::with_state("worker", AtomicU32::new(0))
        .on("refuse", refuse)
        .on("calls", calls);
    let _agent = agent.start(&client).await?;
    for (permanent, expected) in [(true, 1), (false, 2)] {
        client
            .send_command::<()>("worker", "refuse", permanent)
            .retry(retries(5))
            .await
            .unwrap_err();
        assert_eq!(
            client.send_command::<u32>("worker", "calls", ()).await?,
            expected
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_fallback_is_called_when_the_target_advises_it() -> TestResult {
    async fn refuse(_: Context, _: ()) -> Result<u32, McpError> {
        Err(McpError::permanent("NO_GPU").recovery(Recovery::Fallback))
    }
    let (_broker, client) = started().await?;
    let _agent = Agent::new("worker")
        .on("refuse", refuse)
        .start(&client)
        .await?;
    let result: u32 = client
        .send_command("worker", "refuse", ())
        .fallback(|error| async move { Ok(if error.code == "NO_GPU" { 7 } else { 0 }) })
        .await?;
    assert_eq!(result, 7);
    Ok(())
}

#[tokio::test]
async fn retry_elsewhere_goes_to_another_instance() -> TestResult {
    async fn picky(ctx: Context<Arc<str>>, _: ()) -> Result<String, McpError> {
        match &**ctx.state() {
            "bad" => Err(McpError::temporary("NOT_HERE").recovery(Recovery::RetryElsewhere)),
            name => Ok(name.to_owned()),
        }
    }
    let (_broker, client) = started().await?;
    let agent = |name: &str| Agent::with_state("worker", Arc::<str>::from(name)).on("picky", picky);
    let _bad = agent("bad").start(&client).await?;
    let _good = agent("good").start(&client).await?;
    for _ in 0..8 {
        let name: String = client
            .send_command("worker", "picky", ())
            .retry(retries(1))
            .await?;
        assert_eq!(name, "good");
    }
    Ok(())
}

#[tokio::test]
async fn a_submitted_command_is_retried_by_the_runtime_and_keeps_its_outcome() -> TestResult {
    let (_broker, client) = started().await?;
    let _agent = worker().start(&client).await?;
    let submitted = client
        .submit_command("worker", "flaky", 2)
        .retry(retries(3))
        .await?;
    let calls: usize = submitted.outcome(Duration::from_secs(10)).await?;
    assert_eq!(calls, 3);
    let record = client
        .outcome("worker", "flaky", submitted.key())
        .await?
        .expect("the outcome is kept");
    assert!(record.is_done());
    assert_eq!(record.errors.len(), 2);

    let hopeless = client
        .submit_command("worker", "flaky", 99)
        .retry(retries(1))
        .await?;
    let error = hopeless
        .outcome::<usize>(Duration::from_secs(10))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "NOT_YET");
    Ok(())
}

#[tokio::test]
async fn the_same_key_takes_effect_once() -> TestResult {
    let (_broker, client) = started().await?;
    async fn slow(ctx: Context<AtomicU32>, _: u32) -> Result<u32, McpError> {
        assert!(
            ctx.idempotency()
                .is_some_and(|idempotency| idempotency.fence > 0)
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(ctx.state().fetch_add(1, Ordering::SeqCst) + 1)
    }
    let agent = || {
        Agent::with_state("worker", AtomicU32::new(0))
            .on("slow", slow)
            .capacity(2)
    };
    let _agents = [agent().start(&client).await?, agent().start(&client).await?];
    let sends = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .send_command::<u32>("worker", "slow", 1)
                .idempotency_key("once")
                .reply()
                .await
        })
    });
    let mut replayed = 0;
    for send in sends.collect::<Vec<_>>() {
        let reply = send.await??;
        replayed += u32::from(reply.replayed);
        assert_eq!(reply.into_outcome().unwrap().unwrap().decode::<u32>()?, 1);
    }
    assert_eq!(replayed, 19);
    let conflict = client
        .send_command::<u32>("worker", "slow", 2)
        .idempotency_key("once")
        .await
        .unwrap_err();
    assert_eq!(conflict.code(), code::IDEMPOTENCY_CONFLICT);
    Ok(())
}

#[tokio::test]
async fn dropping_the_future_cancels_when_asked_to() -> TestResult {
    async fn long(ctx: Context<Arc<AtomicU32>>, _: ()) -> Result<(), McpError> {
        ctx.state().fetch_add(1, Ordering::SeqCst);
        ctx.cancelled().await;
        ctx.state().fetch_add(10, Ordering::SeqCst);
        Ok(())
    }
    let (_broker, client) = started().await?;
    let state = Arc::new(AtomicU32::new(0));
    let _agent = Agent::with_state("worker", Arc::clone(&state))
        .on("long", long)
        .start(&client)
        .await?;
    let sending = client
        .send_command::<()>("worker", "long", ())
        .cancel_on_drop();
    let _ = tokio::time::timeout(Duration::from_millis(400), sending.into_future()).await;
    for _ in 0..200 {
        if state.load(Ordering::SeqCst) == 11 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the handler was not told: {}", state.load(Ordering::SeqCst));
}
