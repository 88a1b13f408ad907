//! The agents of the telemetry tests, each a process that the environment configures: `telemetry_peer NAME`.
//!
//! - `front` `make` asks `middle`, publishes an event, and submits what can only fail.
//! - `middle` `work` fails the first time, then asks `back`.
//! - `back` `finish` notes its pid in `PEER_FILE`, and is slow when it is delivered for the first time; `fail` fails.

use std::{env, fs, io::Write, process, time::Duration};

use mcp_agent_sdk::{Agent, Context, Error, McpError, RetryConfig};
use serde_json::{Value, json};

/// Far above what the redelivery of a killed instance's command takes.
const PATIENCE: Duration = Duration::from_secs(50);

#[tokio::main]
async fn main() -> Result<(), Error> {
    match env::args().nth(1).as_deref() {
        Some("front") => Agent::new("front").on("make", make).run().await,
        Some("middle") => Agent::new("middle").on("work", work).run().await,
        Some("back") => {
            Agent::new("back")
                .on("finish", finish)
                .on("fail", fail)
                .on("nap", nap)
                .on_event("front", "made", made)
                .run()
                .await
        }
        _ => {
            eprintln!("usage: telemetry_peer front|middle|back");
            process::exit(2)
        }
    }
}

async fn make(ctx: Context, parameters: Value) -> Result<Value, McpError> {
    let quick = RetryConfig {
        max_retries: 2,
        base_delay: Duration::from_millis(50),
        ..RetryConfig::default()
    };
    let worked: Value = ctx
        .send_command("middle", "work", &parameters)
        .retry(quick)
        .timeout(PATIENCE)
        .await?;
    ctx.submit_command("back", "fail", &parameters)
        .retry(RetryConfig {
            max_retries: 1,
            ..quick
        })
        .await?;
    ctx.publish("made", &parameters)
        .await
        .map_err(|error| McpError::permanent("NOT_PUBLISHED").message(error.to_string()))?;
    Ok(worked)
}

async fn work(ctx: Context, parameters: Value) -> Result<Value, McpError> {
    tracing::info!("working");
    if ctx.attempt() == 1 {
        return Err(McpError::temporary("NOT_YET"));
    }
    let finished: Value = ctx
        .send_command("back", "finish", &parameters)
        .timeout(PATIENCE)
        .await?;
    Ok(finished)
}

async fn finish(ctx: Context, parameters: Value) -> Result<Value, McpError> {
    if let Some(file) = env::var_os("PEER_FILE") {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)?;
        writeln!(file, "{}", process::id())?;
        if ctx.delivery() == 1 {
            // Until it is killed.
            tokio::time::sleep(PATIENCE).await;
        }
    }
    Ok(parameters)
}

async fn fail(_ctx: Context, _: Value) -> Result<(), McpError> {
    Err(McpError::temporary("NEVER"))
}

async fn nap(_ctx: Context, parameters: Value) -> Result<Value, McpError> {
    let ms = parameters["ms"].as_u64().unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(json!({ "slept": ms }))
}

async fn made(_ctx: Context, _: mcp_agent_sdk::Event<Value>) -> Result<(), McpError> {
    tracing::info!("heard of it");
    Ok(())
}
