//! Breakers seen from outside: as events, by `mcpctl`, and held open by an operator.

use std::time::{Duration, Instant};

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, TestBroker, code,
    runtime::{BreakerScope, resilience::BreakerState},
};
use mcp_tests::{eventually, present, run};
use serde_json::Value;

use super::{OPEN_TIME, TestResult, careful_client, double, trip};

/// The data of the last event of this name that the client `test` published.
async fn last_event(client: &Client, event: &str) -> Option<Value> {
    let stream = client.jetstream().get_stream("mcp_events").await.ok()?;
    let subject = format!("mcp.evt.test.{event}");
    let message = stream
        .get_last_raw_message_by_subject(&subject)
        .await
        .ok()?;
    let event: Value = rmp_serde::from_slice(&message.payload).ok()?;
    Some(event["data"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_breaker_are_events() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = careful_client(&broker).await?;
    trip(&client, 25).await;
    eventually("the opening is an event", || async {
        last_event(&client, "breaker_opened").await.is_some()
    })
    .await;
    let opened = last_event(&client, "breaker_opened").await.expect("seen");
    assert_eq!(
        (&opened["target"], &opened["from"], &opened["to"]),
        (&"worker".into(), &"closed".into(), &"open".into())
    );
    assert!(opened["failures"].as_u64() >= Some(20), "{opened}");
    assert!(opened["open_ms"].as_u64() >= Some(800), "{opened}");
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    eventually("the breaker closes", || async {
        let _: Result<u32, _> = client.send_command("worker", "double", 1).await;
        last_event(&client, "breaker_closed").await.is_some()
    })
    .await;
    let half_opened = last_event(&client, "breaker_half_opened").await;
    assert_eq!(
        half_opened.expect("it was half-open before")["from"],
        "open"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_action_leaves_the_others_alone_where_each_has_a_breaker() -> TestResult {
    async fn refuse(_: Context, _: ()) -> Result<u32, McpError> {
        Err(McpError::temporary("GPU_BUSY"))
    }
    let broker = TestBroker::start().await?;
    let config = Config::new(broker.url()).breaker_scope(BreakerScope::TargetAndAction);
    let client = Client::connect(config).await?;
    let agent = Agent::new("worker")
        .on("refuse", refuse)
        .on("double", double);
    let _agent = agent.start(&client).await?;
    for _ in 0..20 {
        let refused: Result<u32, _> = client.send_command("worker", "refuse", ()).await;
        assert_eq!(refused.unwrap_err().code(), "GPU_BUSY");
    }
    let refused: Result<u32, _> = client.send_command("worker", "refuse", ()).await;
    assert_eq!(refused.unwrap_err().code(), code::CIRCUIT_OPEN);
    let doubled: u32 = client.send_command("worker", "double", 4).await?;
    assert_eq!(doubled, 8);
    let breakers = client.breakers();
    let open: Vec<_> = breakers
        .iter()
        .filter(|it| it.state == BreakerState::Open)
        .collect();
    assert_eq!(open.len(), 1, "{breakers:?}");
    assert_eq!(open[0].action.as_deref(), Some("refuse"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_opens_and_resets_the_breaker_of_a_running_agent() -> TestResult {
    async fn relay(ctx: Context, n: u32) -> Result<u32, McpError> {
        let doubled = ctx.send_command::<u32>("worker", "double", n).await;
        doubled.map_err(|error| error.to_mcp_error())
    }
    let broker = TestBroker::start().await?;
    // Connections of their own, as in processes of their own: breakers belong to a connection.
    let (client, other) = (broker.client().await?, broker.client().await?);
    let _worker = Agent::new("worker")
        .on("double", double)
        .start(&other)
        .await?;
    let _front = Agent::new("front")
        .on("relay", relay)
        .start(&broker.client().await?)
        .await?;
    present(&client, "front", 1).await;

    let open = [
        "breakers", "open", "worker", "--agent", "front", "--for", "10m",
    ];
    let told = run(broker.url(), &open).await;
    assert_eq!(told.code, 0, "{told:?}");
    eventually("the forced breaker refuses", || async {
        let relayed: Result<u32, _> = client.send_command("front", "relay", 1).await;
        relayed.is_err_and(|error| {
            let error = error.to_mcp_error();
            error.code == code::CIRCUIT_OPEN && error.details.get("forced") == Some(&true.into())
        })
    })
    .await;
    eventually("mcpctl shows it", || async {
        let shown = run(broker.url(), &["breakers", "--agent", "front", "--json"])
            .await
            .json();
        let breaker = &shown["breakers"][0];
        breaker["target"] == "worker" && breaker["state"] == "open" && breaker["forced"] == true
    })
    .await;

    let reset = run(
        broker.url(),
        &["breakers", "reset", "worker", "--agent", "front"],
    )
    .await;
    assert_eq!(reset.code, 0, "{reset:?}");
    eventually("traffic is back", || async {
        let relayed: Result<u32, _> = client.send_command("front", "relay", 4).await;
        relayed.is_ok_and(|doubled| doubled == 8)
    })
    .await;
    let nobody = run(
        broker.url(),
        &["breakers", "reset", "worker", "--agent", "nobody"],
    )
    .await;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_forced_open_for_a_time_closes_by_itself() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = Agent::new("worker")
        .on("double", double)
        .start(&client)
        .await?;
    client.force_open("worker", Some("double"), Some(OPEN_TIME))?;
    let forced = Instant::now();
    let refused: Result<u32, _> = client.send_command("worker", "double", 1).await;
    let error = refused.unwrap_err().to_mcp_error();
    assert_eq!(
        (error.code.as_str(), &error.details["forced"]),
        (code::CIRCUIT_OPEN, &true.into())
    );
    assert!(error.retry_delay.is_some_and(|left| left <= OPEN_TIME));
    eventually("it is open no longer", || async {
        let doubled: Result<u32, _> = client.send_command("worker", "double", 1).await;
        doubled.is_ok()
    })
    .await;
    assert!(forced.elapsed() >= OPEN_TIME - Duration::from_millis(1));
    Ok(())
}
