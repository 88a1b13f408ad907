//! Events: durable, shared by the instances of an agent, retried, and never lost without a trace.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mcp_agent_sdk::{Agent, Context, Event, McpError, Start, Subscription, TestBroker};

type TestResult = Result<(), Box<dyn std::error::Error>>;
type Seen = Mutex<Vec<u32>>;

async fn note(ctx: Context<Arc<Seen>>, event: Event<u32>) -> Result<(), McpError> {
    ctx.state()
        .lock()
        .expect("no handler panics")
        .push(event.data);
    Ok(())
}

fn listener(seen: &Arc<Seen>, subscription: Subscription) -> Agent<Arc<Seen>> {
    Agent::with_state("listener", Arc::clone(seen)).on_events(subscription, note)
}

/// Waits until the listeners have seen so many events, at most 10 s, and returns them in order.
async fn sorted(seen: &Seen, count: usize) -> Vec<u32> {
    for _ in 0..1_000 {
        if seen.lock().expect("no handler panics").len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut events = seen.lock().expect("no handler panics").clone();
    events.sort_unstable();
    events
}

#[tokio::test]
async fn instances_share_a_subscription_and_what_happens_meanwhile_is_not_missed() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let seen = Arc::<Seen>::default();
    let subscription = || Subscription::to("test", "counted");
    let first = listener(&seen, subscription()).start(&client).await?;
    let second = listener(&seen, subscription()).start(&client).await?;
    for n in 0..50 {
        client.publish("counted", n).await?;
    }
    assert_eq!(sorted(&seen, 50).await, (0..50).collect::<Vec<_>>());
    first.drain().await;
    second.drain().await;
    for n in 50..60 {
        client.publish("counted", n).await?;
    }
    let _third = listener(&seen, subscription()).start(&client).await?;
    assert_eq!(sorted(&seen, 60).await, (0..60).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_told() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    client.publish("counted", 1).await?;
    let (new, all) = (Arc::<Seen>::default(), Arc::<Seen>::default());
    let _new = listener(&new, Subscription::to("test", "counted").named("new"))
        .start(&client)
        .await?;
    let from_all = Subscription::to_any("counted")
        .named("all")
        .start(Start::All);
    let _all = listener(&all, from_all).start(&client).await?;
    client.publish("counted", 2).await?;
    assert_eq!(sorted(&all, 2).await, [1, 2]);
    assert_eq!(sorted(&new, 1).await, [2]);
    Ok(())
}

#[tokio::test]
async fn an_event_that_fails_comes_again_and_at_last_becomes_a_dead_letter() -> TestResult {
    async fn third_time_lucky(ctx: Context<Arc<Seen>>, event: Event<u32>) -> Result<(), McpError> {
        match ctx.delivery() {
            1 | 2 => Err(McpError::temporary("NOT_YET")),
            _ => note(ctx, event).await,
        }
    }
    async fn never(_: Context<Arc<Seen>>, _: Event<u32>) -> Result<(), McpError> {
        Err(McpError::permanent("NEVER").message("no use"))
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let seen = Arc::<Seen>::default();
    let _agent = Agent::with_state("listener", Arc::clone(&seen))
        .on_event("test", "flaky", third_time_lucky)
        .on_event("test", "hopeless", never)
        .start(&client)
        .await?;
    client.publish("flaky", 7).await?;
    client.publish("hopeless", 8).await?;
    assert_eq!(sorted(&seen, 1).await, [7]);

    let letters = client.jetstream().get_stream("mcp_dead_letters").await?;
    let mut letter = letters
        .get_last_raw_message_by_subject("mcp.dead.listener.hopeless")
        .await;
    for _ in 0..100 {
        if letter.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        letter = letters
            .get_last_raw_message_by_subject("mcp.dead.listener.hopeless")
            .await;
    }
    let headers = letter?.headers;
    assert_eq!(
        headers.get("Mcp-Dead-Reason").map(|reason| reason.as_str()),
        Some("NEVER")
    );
    assert_eq!(
        headers
            .get("Mcp-Original-Subject")
            .map(|subject| subject.as_str()),
        Some("mcp.evt.test.hopeless")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_handler_gets_what_has_gathered_and_a_failed_batch_comes_back_whole() -> TestResult
{
    /// Batches as they came; the first of several events fails.
    async fn store(
        ctx: Context<Arc<Mutex<Vec<Vec<u32>>>>>,
        events: Vec<Event<u32>>,
    ) -> Result<(), McpError> {
        let batch: Vec<u32> = events.iter().map(|event| event.data).collect();
        // As long as a write takes: meanwhile the next batch gathers.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut batches = ctx.state().lock().expect("no handler panics");
        let fails = batch.len() > 1 && batches.iter().all(|batch| batch.len() == 1);
        batches.push(batch);
        match fails {
            true => Err(McpError::temporary("DATABASE_BUSY")),
            false => Ok(()),
        }
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let batches = Arc::<Mutex<Vec<Vec<u32>>>>::default();
    let agent = Agent::with_state("archive", Arc::clone(&batches));
    let agent = agent.on_batch(Subscription::to("test", "counted"), 10, store);
    let _agent = agent.start(&client).await?;
    let publishing = (0..60_u32).map(|n| client.publish("counted", n));
    futures_util::future::try_join_all(publishing).await?;
    let seen = || -> Vec<Vec<u32>> { batches.lock().expect("no handler panics").clone() };
    mcp_tests::eventually("every event was in a batch that succeeded", || async {
        let batches = seen();
        let failed = batches.iter().position(|batch| batch.len() > 1);
        let succeeded = batches
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != failed);
        let mut events: Vec<u32> = succeeded.flat_map(|(_, batch)| batch.clone()).collect();
        events.sort_unstable();
        events == (0..60).collect::<Vec<_>>()
    })
    .await;
    let sizes: Vec<usize> = seen().iter().map(Vec::len).collect();
    assert!(
        sizes.iter().all(|size| (1..=10).contains(size)),
        "{sizes:?}"
    );
    assert!(sizes.len() <= 30, "{sizes:?}");
    Ok(())
}
