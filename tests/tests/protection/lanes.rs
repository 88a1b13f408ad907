//! Realtime commands that wait for a place in which to run do so by their lanes.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use mcp_agent_sdk::{Agent, Context, McpError, Priority, TestBroker, code};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::TestResult;

struct Stage {
    begun: Notify,
    open: Semaphore,
    order: Mutex<Vec<String>>,
}

async fn block(ctx: Context<Arc<Stage>>, _: ()) -> Result<(), McpError> {
    ctx.state().begun.notify_one();
    let opened = ctx.state().open.acquire().await;
    opened.expect("it is never closed").forget();
    Ok(())
}

async fn note(ctx: Context<Arc<Stage>>, what: String) -> Result<(), McpError> {
    ctx.state().order.lock().await.push(what);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_realtime_command_goes_first_and_the_least_urgent_makes_way() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let stage = Arc::new(Stage {
        begun: Notify::new(),
        open: Semaphore::new(0),
        order: Mutex::default(),
    });
    // Four handlers, and room for two more.
    let agent = Agent::with_state("stage", Arc::clone(&stage))
        .on("block", block)
        .on("note", note)
        .capacity(4);
    let _agent = agent.start(&client).await?;
    let send = |action: &str, what: serde_json::Value, lane| {
        let command = client.send_command::<()>("stage", action, what);
        let command = command.priority(lane).realtime();
        tokio::spawn(command.timeout(Duration::from_secs(20)).into_future())
    };
    let mut blocked = Vec::new();
    for _ in 0..4 {
        blocked.push(send("block", ().into(), Priority::Normal));
        stage.begun.notified().await;
    }
    let low = send("note", "low".into(), Priority::Low);
    let normal = send("note", "normal".into(), Priority::Normal);
    let critical = send("note", "critical".into(), Priority::Critical);
    // In whichever order they come: when this is refused, the other two are there.
    let refused = low.await?.unwrap_err();
    assert_eq!(refused.code(), code::OVERLOADED);
    stage.open.add_permits(1);
    normal.await??;
    critical.await??;
    stage.open.add_permits(3);
    for outcome in blocked {
        outcome.await??;
    }
    assert_eq!(*stage.order.lock().await, ["critical", "normal"]);
    Ok(())
}
