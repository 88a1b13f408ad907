//! The agent `keeper`, which gets secrets in every place where a value can be: `secrets_peer keeper`.
//!
//! - `take` returns its parameters, tells them as progress and in an event, which it hears itself.
//! - `refuse` and `fail` put them into the details of an error; `fail` is temporary.
//! - `count` wants a number.
//! - The workflow `kept` keeps them in its data, sends them, and fails with them when it is told to `go`.

use std::{env, process};

use mcp_agent_sdk::{
    Agent, Context, Error, Event, McpError, Progress, Workflow, WorkflowContext, WorkflowState,
    WorkflowTransitionResult as Then,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    if env::args().nth(1).as_deref() != Some("keeper") {
        eprintln!("usage: secrets_peer keeper");
        process::exit(2)
    }
    let kept = Workflow::new("kept")
        .state("first", WorkflowState::run(first).to("gate").checkpoint())
        .state("gate", WorkflowState::wait_for("go").then("last"))
        .state("last", WorkflowState::run(last).to("end"))
        .state("end", WorkflowState::end());
    Agent::new("keeper")
        .on("take", take)
        .on("refuse", refuse)
        .on("fail", fail)
        .on("count", count)
        .on_event("keeper", "taken", taken)
        .workflow(kept)
        .run()
        .await
}

async fn take(ctx: Context, parameters: Value) -> Result<Value, McpError> {
    let progress = Progress::fraction(0.5).note(parameters.to_string());
    ctx.progress(progress).await;
    ctx.publish("taken", &parameters)
        .await
        .map_err(|error| McpError::permanent("NOT_PUBLISHED").message(error.to_string()))?;
    Ok(parameters)
}

async fn taken(_ctx: Context, _event: Event<Value>) -> Result<(), McpError> {
    Ok(())
}

async fn refuse(_ctx: Context, parameters: Value) -> Result<(), McpError> {
    Err(McpError::permanent("REFUSED").detail("parameters", parameters))
}

async fn fail(_ctx: Context, parameters: Value) -> Result<(), McpError> {
    Err(McpError::temporary("NEVER").detail("parameters", parameters))
}

#[derive(Serialize, Deserialize)]
struct Count {
    n: u64,
}

async fn count(_ctx: Context, count: Count) -> Result<Count, McpError> {
    Ok(count)
}

async fn first(ctx: WorkflowContext<()>, data: Value) -> Result<Then, McpError> {
    let taken: Value = ctx.send_command("keeper", "take", &data).await?;
    Ok(Then::to("gate").with(&taken))
}

async fn last(_ctx: WorkflowContext<()>, data: Value) -> Result<Then, McpError> {
    Err(McpError::permanent("REFUSED").detail("data", data))
}
