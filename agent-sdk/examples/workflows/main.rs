//! What real organisations ask of workflows, a small one for each: `cargo run -p mcp-agent-sdk --example workflows children`.
//!
//! Each brings its server, agent and workflow; `make test` runs them all.

mod children;
mod compensation;
mod fork;
mod parallel;
mod versions;

use std::error::Error;

use mcp_agent_sdk::TestBroker;

const EXAMPLES: [&str; 5] = ["children", "compensation", "fork", "parallel", "versions"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(name) if EXAMPLES.contains(&name.as_str()) => run(&name).await,
        _ => Err(format!("say which: {}", EXAMPLES.join(", ")).into()),
    }
}

async fn run(name: &str) -> Result<(), Box<dyn Error>> {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    match name {
        "children" => Box::pin(children::run(&client)).await,
        "compensation" => Box::pin(compensation::run(&client)).await,
        "fork" => Box::pin(fork::run(&client)).await,
        "parallel" => Box::pin(parallel::run(&client)).await,
        _ => Box::pin(versions::run(&client)).await,
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
