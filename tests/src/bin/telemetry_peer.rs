//! The agents of the telemetry tests, each a process that the environment configures: `telemetry_peer NAME`.
//!
//! - `front` `make` asks `middle`, publishes an event, and submits what can only fail; `storm` asks `back` until its limiter
//!   has a limit and its breaker is open; `flood` submits so many to `back` that they travel in packs; `strew` sends commands to
//!   `back` that belong to no trace.
//! - `middle` `work` fails the first time, then asks `back`.
//! - `back` `finish` notes its pid in `PEER_FILE`, and is slow when it is delivered for the first time; `fail` fails; `busy`
//!   pushes back.
//! - `twice` is `back`, and `back` again when it is told to end.
//! - `engine` has the workflow `journey`: it asks `back`, makes a checkpoint, waits for a timer, notes its pid in `PEER_FILE`
//!   and is slow when it does so for the first time, asks `back` again, and ends. `film` has a child of `scene`, which asks `back`.
//!   It hosts schedules, too.

use std::{env, fs, io::Write, process, time::Duration};

use mcp_agent_sdk::{
    Agent, Context, Error, McpError, RetryConfig, SendError, Workflow, WorkflowContext,
    WorkflowState, WorkflowTransitionResult as Then,
};
use serde_json::{Value, json};

/// Far above what the redelivery of a killed instance's command takes.
const PATIENCE: Duration = Duration::from_secs(50);

#[tokio::main]
async fn main() -> Result<(), Error> {
    match env::args().nth(1).as_deref() {
        Some("front") => {
            let front = Agent::new("front").on("make", make);
            let front = front.on("storm", storm).on("flood", flood);
            front.on("strew", strew).run().await
        }
        Some("middle") => Agent::new("middle").on("work", work).run().await,
        Some("back") => back().run().await,
        Some("twice") => {
            back().run().await?;
            back().run().await
        }
        Some("engine") => {
            let engine = Agent::new("engine").workflow(journey()).schedules();
            engine.workflow(film()).workflow(scene()).run().await
        }
        _ => {
            eprintln!("usage: telemetry_peer front|middle|back|twice|engine");
            process::exit(2)
        }
    }
}

fn back() -> Agent {
    Agent::new("back")
        .on("finish", finish)
        .on("fail", fail)
        .on("nap", nap)
        .on("busy", busy)
        .on_event("front", "made", made)
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

/// More than any breaker lets fail.
const STORM: usize = 100;

async fn storm(ctx: Context, _: Value) -> Result<Value, McpError> {
    let nap = json!({ "ms": 0 });
    for action in ["nap", "busy", "busy", "nap"] {
        // Only what it does to the limiter is of interest.
        let _ = ctx.send_command::<Value>("back", action, &nap).await;
    }
    for failed in 1..=STORM {
        let asked = ctx.send_command::<Value>("back", "fail", &nap).await;
        if matches!(asked, Err(SendError::CircuitOpen { .. })) {
            return Ok(json!({ "failed": failed }));
        }
    }
    Err(McpError::permanent("STILL_CLOSED"))
}

/// Far more than may be on their way one by one.
const FLOOD: usize = 200;

async fn flood(ctx: Context, _: Value) -> Result<Value, McpError> {
    let nap = json!({ "ms": 0 });
    let naps: Vec<_> = (0..FLOOD)
        .map(|_| ctx.submit_command("back", "nap", &nap))
        .collect();
    let mut stored = 0;
    for submitted in ctx.client().submit_many(naps).await {
        submitted?;
        stored += 1;
    }
    Ok(json!({ "stored": stored }))
}

/// Enough that half of them is about half of them.
const STREWN: usize = 100;

async fn strew(ctx: Context, _: Value) -> Result<(), McpError> {
    let client = ctx.client().clone();
    // In a task of its own there is no trace to continue.
    let sending = tokio::spawn(async move {
        for _ in 0..STREWN {
            client
                .send_command::<Value>("back", "nap", json!({ "ms": 0 }))
                .await?;
        }
        Ok::<_, SendError>(())
    });
    let sent = sending.await;
    sent.map_err(|error| McpError::permanent("NOT_STREWN").message(error.to_string()))??;
    Ok(())
}

async fn busy(_ctx: Context, _: Value) -> Result<(), McpError> {
    Err(McpError::temporary("OVERLOADED"))
}

fn journey() -> Workflow {
    Workflow::new("journey")
        .state("ask", WorkflowState::run(ask).to("rest").checkpoint())
        .state("rest", WorkflowState::run(rest).to("last"))
        .state("last", WorkflowState::run(last).to("done"))
        .state("done", WorkflowState::end())
}

fn film() -> Workflow {
    Workflow::new("film")
        .state("shoot", WorkflowState::run(shoot).to("gather"))
        .state("gather", WorkflowState::wait_for_children().then("shown"))
        .state("shown", WorkflowState::end())
}

fn scene() -> Workflow {
    Workflow::new("scene")
        .state("take", WorkflowState::run(take).to("kept"))
        .state("kept", WorkflowState::end())
}

async fn shoot(ctx: WorkflowContext, data: Value) -> Result<Then, McpError> {
    ctx.labelled("sea").start_child("scene", data)?;
    Ok(Then::to("gather"))
}

async fn take(ctx: WorkflowContext, data: Value) -> Result<Then, McpError> {
    let _: Value = ctx.send_command("back", "nap", &data).await?;
    Ok(Then::to("kept"))
}

async fn ask(ctx: WorkflowContext, data: Value) -> Result<Then, McpError> {
    let _: Value = ctx.send_command("back", "nap", &data).await?;
    Ok(Then::to("rest"))
}

async fn rest(_ctx: WorkflowContext, _: Value) -> Result<Then, McpError> {
    Ok(Then::after(Duration::from_millis(50)).then("last"))
}

async fn last(ctx: WorkflowContext, data: Value) -> Result<Then, McpError> {
    tracing::info!("at the last");
    if note_pid()? == 1 {
        // Until it is killed.
        tokio::time::sleep(PATIENCE).await;
    }
    let nap = json!({ "ms": data["last_ms"].as_u64().unwrap_or_default() });
    let _: Value = ctx.send_command("back", "nap", nap).await?;
    Ok(Then::to("done"))
}

/// Notes in `PEER_FILE` which process came here; returns how many did. Nobody counts where there is no such file.
fn note_pid() -> Result<usize, McpError> {
    let Some(path) = env::var_os("PEER_FILE") else {
        return Ok(usize::MAX);
    };
    let mut file = fs::OpenOptions::new();
    let mut file = file.create(true).append(true).open(&path)?;
    writeln!(file, "{}", process::id())?;
    Ok(fs::read_to_string(&path)?.lines().count())
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
    if note_pid()? < usize::MAX && ctx.delivery() == 1 {
        // Until it is killed.
        tokio::time::sleep(PATIENCE).await;
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
