//! The agents of the presence tests, in processes that can be killed.
//!
//! - `blocker URL THREADS` serves the agent `blocker`, whose action `block {ms}` blocks the thread that it runs on. With
//!   0 threads its runtime is that of `flavor = "current_thread"`.
//! - `crowd URL COUNT INTERVAL_MS` runs so many instances of the agent `crowd`.

use std::{env, error::Error, time::Duration};

use mcp_agent_sdk::{Agent, Client, Config, Context, McpError};
use serde::Deserialize;
use tokio::runtime::Builder;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["blocker", url, "0"] => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(blocker(url))
        }
        ["blocker", url, threads] => {
            let mut runtime = Builder::new_multi_thread();
            let runtime = runtime
                .worker_threads(threads.parse()?)
                .enable_all()
                .build()?;
            runtime.block_on(blocker(url))
        }
        ["crowd", url, count, interval_ms] => {
            let interval = Duration::from_millis(interval_ms.parse()?);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(crowd(url, count.parse()?, interval))
        }
        _ => Err("usage: blocker URL THREADS | crowd URL COUNT INTERVAL_MS".into()),
    }
}

#[derive(Deserialize)]
struct Block {
    ms: u64,
}

async fn block(ctx: Context, Block { ms }: Block) -> Result<u64, McpError> {
    // What no handler should do, and some do.
    #[allow(clippy::disallowed_methods, reason = "it is what is tested")]
    std::thread::sleep(Duration::from_millis(ms));
    Ok(ctx.delivery())
}

async fn blocker(url: &str) -> Done {
    let client = Client::connect(Config::new(url)).await?;
    let agent = Agent::new("blocker").on("block", block);
    let agent = agent.heartbeat_interval(Duration::from_secs(1));
    let _running = agent.capacity(16).start(&client).await?;
    println!("ready");
    std::future::pending().await
}

async fn nothing(_: Context, _: ()) -> Result<(), McpError> {
    Ok(())
}

async fn crowd(url: &str, count: usize, interval: Duration) -> Done {
    let client = Client::connect(Config::new(url)).await?;
    let mut running = Vec::new();
    for _ in 0..count {
        let agent = Agent::new("crowd").on("nothing", nothing).capacity(1);
        running.push(agent.heartbeat_interval(interval).start(&client).await?);
    }
    println!("ready");
    std::future::pending().await
}
