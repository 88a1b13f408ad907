//! A `RATE_LIMITED` answer with advice holds for the whole target, in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_agent_sdk::{Agent, Context, McpError, Name, TestBroker, code};

use super::TestResult;

const ADVICE: Duration = Duration::from_millis(400);

async fn quota(ctx: Context<Arc<AtomicBool>>, _: ()) -> Result<(), McpError> {
    match ctx.state().swap(false, Ordering::SeqCst) {
        true => Err(McpError::temporary(code::RATE_LIMITED).retry_after(ADVICE)),
        false => Ok(()),
    }
}

async fn free(_: Context<Arc<AtomicBool>>, _: ()) -> Result<(), McpError> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rate_limited_answer_pauses_all_commands_to_the_target() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let agent = Agent::with_state("metered", Arc::new(AtomicBool::new(true)))
        .on("quota", quota)
        .on("free", free);
    let _agent = agent.start(&client).await?;
    let limited = client.send_command::<()>("metered", "quota", ()).await;
    let answered = Instant::now();
    assert_eq!(limited.unwrap_err().code(), code::RATE_LIMITED);
    // Another action, and the same connection under another name.
    let other = client.named(Name::new("other")?);
    other.send_command::<()>("metered", "free", ()).await?;
    assert!(
        answered.elapsed() >= ADVICE.mul_f64(0.9),
        "{:?}",
        answered.elapsed()
    );
    Ok(())
}
