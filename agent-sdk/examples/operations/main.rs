//! What running many workflows needs, a small one for each: `cargo run -p mcp-agent-sdk --example operations search`.
//!
//! Each brings its server, agent and workflow; `make test` runs them all.

mod repair;
mod schedule;
mod search;
mod test_kit;

use std::error::Error;

use mcp_agent_sdk::TestBroker;

const EXAMPLES: [&str; 4] = ["repair", "schedule", "search", "test_kit"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(name) if EXAMPLES.contains(&name.as_str()) => run(&name).await,
        _ => Err(format!("say which: {}", EXAMPLES.join(", ")).into()),
    }
}

async fn run(name: &str) -> Result<(), Box<dyn Error>> {
    if name == "test_kit" {
        return test_kit::run().await;
    }
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    match name {
        "repair" => Box::pin(repair::run(&client)).await,
        "schedule" => Box::pin(schedule::run(&client)).await,
        _ => Box::pin(search::run(&client)).await,
    }
}

#[cfg(test)]
#[tokio::test]
async fn every_example_runs() {
    for name in EXAMPLES {
        let ran = run(name).await;
        assert!(ran.is_ok(), "{name}: {ran:?}");
    }
}
