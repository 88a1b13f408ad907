//! `mcpctl probe`: an agent that does nothing useful, precisely: for trying a deployment out.

mod desk;
mod effects;
mod family;
mod pipeline;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use mcp_agent_sdk::{Agent, Context, McpError, Progress, Raw};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{cli::Global, failure::Failure};

use effects::Effects;

/// The most that `bytes` returns: above it is a typing mistake.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// What `effect` answers when the probe was started without a file for it.
const NO_EFFECTS_FILE: &str = "NO_EFFECTS_FILE";

const ACTIONS: &str = "\
Actions of the probe (all parameters in one JSON object):
  echo      any parameters; returns them
  sleep     {ms}; returns {ms} after so many milliseconds
  fail      {key?, times?, code?, category?, retry_delay_ms?, max_retries?}; fails the first `times` calls of
            `key` (for ever without `times`), then returns {calls}; code PROBE_FAILED, category TEMPORARY
            unless said otherwise; the other two become the error's advice
  count     {key}; returns {count}: how often this instance was asked for `key`
  effect    {key}; under a file lock: appends `key instance unix-ms` to the effects file unless the key is
            there already, and always appends such a line to `<effects-file>.runs`; returns {key}
  bytes     {n}; returns a text of n characters
  progress  {steps, ms}; sends so many progress frames with so many milliseconds before each; returns {steps}
  panic     {}; panics; the probe goes on
  tasks     {}; returns {tasks}: how many asynchronous tasks this instance has, itself one of them

Workflow of the probe: probe_pipeline, first -> second -> gate (waits for the signal approve) -> third -> done
  data {sleep_ms?, fail_state?, fail_times?}: how long each of the three states takes, which of them fails, and how
  often (for ever without `fail_times`); with an effects file each sends `effect` with `<workflow-id>:<state>`
With --family also: probe_family, spread (commands side by side) -> start (two children, probe_child) -> gather -> fail; then
  the first two are undone; data {sleep_ms?}
With --desk-version also: probe_desk in that version, desk (until a transition to work) -> work -> done; work may be left for rest,
  and both end with a pause; data {work_ms?, rest_ms?}, two seconds each";

/// Runs a test agent, for trying a deployment out.
#[derive(Debug, Args)]
#[command(after_help = ACTIONS)]
pub(crate) struct ProbeArgs {
    /// The agent's name.
    #[arg(long, default_value = "probe")]
    name: String,
    /// Handlers that may run at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    capacity: Option<u32>,
    /// Bytes of bodies that it holds at once (default 64 MiB, or `MCP_AGENT_CAPACITY_BYTES`).
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    capacity_bytes: Option<u64>,
    /// The file that `effect` writes; shared by all instances on this machine.
    #[arg(long, value_name = "PATH")]
    effects_file: Option<PathBuf>,
    /// Also runs the workflows `probe_family` and `probe_child`.
    #[arg(long)]
    family: bool,
    /// Also runs the workflow `probe_desk`, in this version: two probes can differ in it.
    #[arg(long, value_name = "VERSION")]
    desk_version: Option<String>,
}

/// Runs the probe until SIGTERM or Ctrl-C.
pub(crate) async fn run(args: ProbeArgs, global: &Global) -> Result<(), Failure> {
    let config = global.config(&args.name)?;
    Ok(agent(&args).run_with(config).await?)
}

/// What the probe remembers between calls.
struct Probe {
    calls: Mutex<HashMap<String, u64>>,
    effects: Option<Effects>,
}

/// The probe as an agent.
fn agent(args: &ProbeArgs) -> Agent<impl Send + Sync + 'static> {
    let probe = Probe {
        calls: Mutex::default(),
        effects: args.effects_file.as_deref().map(Effects::new),
    };
    let agent = Agent::with_state(&args.name, probe)
        .on("echo", echo)
        .on("sleep", sleep)
        .on("fail", fail)
        .on("count", count)
        .on("effect", effect)
        .on("bytes", bytes)
        .on("progress", progress)
        .on("panic", panic)
        .on("tasks", tasks)
        .workflow(pipeline::definition());
    let agent = match args.family {
        true => agent
            .workflow(family::definition())
            .workflow(family::child()),
        false => agent,
    };
    let agent = match &args.desk_version {
        Some(version) => agent.workflow(desk::definition(version)),
        None => agent,
    };
    // As any agent it can be given another version, to see an update of it happen.
    let agent = match std::env::var_os("MCP_AGENT_VERSION") {
        None => agent.version(env!("CARGO_PKG_VERSION")),
        Some(_) => agent,
    };
    let agent = match args.capacity {
        Some(capacity) => agent.capacity(capacity),
        None => agent,
    };
    match args.capacity_bytes {
        // On a machine where it is too large for a size, there is no such memory.
        Some(bytes) => agent.capacity_bytes(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None => agent,
    }
}

impl Probe {
    fn call(&self, kind: &str, key: &str) -> u64 {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(format!("{kind} {key}")).or_default();
        *calls += 1;
        *calls
    }
}

async fn tasks(_ctx: Context<Probe>, _parameters: Raw) -> Result<Value, McpError> {
    let runtime = tokio::runtime::Handle::current();
    Ok(json!({ "tasks": runtime.metrics().num_alive_tasks() }))
}

async fn echo(_ctx: Context<Probe>, parameters: Raw) -> Result<Raw, McpError> {
    Ok(parameters)
}

#[derive(Serialize, Deserialize)]
struct Sleep {
    ms: u64,
}

async fn sleep(_ctx: Context<Probe>, sleep: Sleep) -> Result<Sleep, McpError> {
    tokio::time::sleep(Duration::from_millis(sleep.ms)).await;
    Ok(sleep)
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Category {
    Temporary,
    Permanent,
}

#[derive(Deserialize)]
struct Fail {
    #[serde(default)]
    key: String,
    times: Option<u64>,
    code: Option<String>,
    category: Option<Category>,
    retry_delay_ms: Option<u64>,
    max_retries: Option<u32>,
}

async fn fail(ctx: Context<Probe>, fail: Fail) -> Result<Value, McpError> {
    let calls = ctx.state().call("fail", &fail.key);
    if fail.times.is_some_and(|times| calls > times) {
        return Ok(json!({ "calls": calls }));
    }
    let code = fail.code.unwrap_or_else(|| "PROBE_FAILED".to_owned());
    let mut error = match fail.category {
        Some(Category::Permanent) => McpError::permanent(code),
        Some(Category::Temporary) | None => McpError::temporary(code),
    };
    error = error
        .message("the probe was asked to fail")
        .detail("calls", calls);
    error.retry_delay = fail.retry_delay_ms.map(Duration::from_millis);
    error.max_retries = fail.max_retries;
    Err(error)
}

#[derive(Serialize, Deserialize)]
struct Key {
    key: String,
}

async fn count(ctx: Context<Probe>, Key { key }: Key) -> Result<Value, McpError> {
    Ok(json!({ "count": ctx.state().call("count", &key) }))
}

async fn effect(ctx: Context<Probe>, key: Key) -> Result<Key, McpError> {
    if key.key.is_empty() || key.key.contains(char::is_whitespace) {
        return Err(McpError::permanent("INVALID_PARAMETERS")
            .message("`key` must be a text without white space")
            .detail("field", "key"));
    }
    let Some(effects) = ctx.state().effects.clone() else {
        return Err(
            McpError::permanent(NO_EFFECTS_FILE).message("start the probe with --effects-file")
        );
    };
    let instance = ctx.instance().to_owned();
    // The lock may be held by another process for a while: not on the runtime's own threads.
    tokio::task::spawn_blocking(move || effects.record(&key.key, &instance).map(|()| key))
        .await?
        .map_err(McpError::from)
}

#[derive(Deserialize)]
struct Bytes {
    n: usize,
}

async fn bytes(_ctx: Context<Probe>, Bytes { n }: Bytes) -> Result<String, McpError> {
    if n > MAX_BYTES {
        return Err(McpError::permanent("INVALID_PARAMETERS")
            .message(format!("`n` must be at most {MAX_BYTES}"))
            .detail("field", "n"));
    }
    Ok("x".repeat(n))
}

#[derive(Deserialize)]
struct Steps {
    steps: u32,
    ms: u64,
}

async fn progress(ctx: Context<Probe>, Steps { steps, ms }: Steps) -> Result<Value, McpError> {
    for step in 1..=steps {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let fraction = f64::from(step) / f64::from(steps);
        ctx.progress(Progress::fraction(fraction).note(format!("step {step} of {steps}")))
            .await;
    }
    Ok(json!({ "steps": steps }))
}

async fn panic(_ctx: Context<Probe>, _: serde::de::IgnoredAny) -> Result<(), McpError> {
    panic!("the probe was asked to panic")
}
