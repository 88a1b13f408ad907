//! Runs the overload scenario on a server of its own and prints what the callers got.
//!
//! `overload [durable|realtime] [SECONDS [TIMES]]`; `overload follow` lets the capacity double and halve.

use std::{env, error::Error, time::Duration};

use mcp_agent_sdk::TestBroker;
use mcp_tests::Overload;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let kind = arguments.first().map_or("durable", String::as_str);
    let seconds = arguments.get(1).map_or(Ok(20), |text| text.parse())?;
    let times = arguments.get(2).map_or(Ok(5.0), |text| text.parse())?;
    let broker = TestBroker::start().await?;
    let scenario = Overload {
        realtime: kind == "realtime",
        times,
        measure: Duration::from_secs(seconds),
        ..Overload::default()
    };
    if kind == "follow" {
        return follow(&scenario, broker.url()).await;
    }
    println!("{kind}: {}", scenario.run(broker.url()).await?);
    Ok(())
}

/// One instance, then two, then one again: what is done in each second.
async fn follow(scenario: &Overload, url: &str) -> Result<(), Box<dyn Error>> {
    let _first = scenario.instance(url).await;
    let running = scenario.begin(url).await?;
    println!(
        "one instance: {}",
        running.measure(Duration::from_secs(12)).await
    );
    let mut second = running.grow().await;
    println!(
        "two instances: {}",
        running.measure(Duration::from_secs(12)).await
    );
    second.terminate().await;
    println!(
        "one again: {}",
        running.measure(Duration::from_secs(12)).await
    );
    println!("by second: {:?}", running.by_second());
    running.end().await;
    Ok(())
}
