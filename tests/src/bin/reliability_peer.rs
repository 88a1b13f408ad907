//! The other processes of the reliability tests.
//!
//! - `worker URL EFFECTS` serves the agent `worker` until it is killed. Its action `work {key, ms}` is slow enough
//!   to be killed in the act: a line `key pid fence` in `EFFECTS.runs` at its beginning, a line `key pid` in
//!   `EFFECTS` at its end, unless the key is there.
//! - `requester URL TARGET ACTION PARAMETERS KEY COUNT` sends one command COUNT times at once, all with the same
//!   idempotency key, and prints each answer as a line of JSON.

use std::{
    env,
    error::Error,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use futures_util::future::try_join_all;
use mcp_agent_sdk::{Agent, Client, Config, Context, McpError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Done = Result<(), Box<dyn Error>>;

/// Far above what the longest test takes: the tests are bounded by themselves.
const PATIENCE: Duration = Duration::from_secs(150);

#[tokio::main]
async fn main() -> Done {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["worker", url, effects] => worker(url, Path::new(effects)).await,
        ["requester", url, target, action, parameters, key, count] => {
            let command = Asked {
                target,
                action,
                parameters: serde_json::from_str(parameters)?,
                key,
            };
            requester(url, &command, count.parse()?).await
        }
        _ => Err(
            "usage: worker URL EFFECTS | requester URL TARGET ACTION PARAMETERS KEY COUNT".into(),
        ),
    }
}

async fn worker(url: &str, effects: &Path) -> Done {
    let client = Client::connect(Config::new(url)).await?;
    let _running = Agent::with_state("worker", effects.to_owned())
        .on("work", work)
        // Few places: more commands wait for their key than can run.
        .capacity(4)
        .start(&client)
        .await?;
    println!("ready");
    std::future::pending().await
}

#[derive(Deserialize)]
struct Work {
    key: String,
    ms: u64,
}

/// Says who did it, so that equal answers are answers of one execution.
#[derive(Serialize)]
struct Worked {
    key: String,
    pid: u32,
}

async fn work(ctx: Context<PathBuf>, Work { key, ms }: Work) -> Result<Worked, McpError> {
    let (effects, pid) = (ctx.state(), process::id());
    let fence = ctx.idempotency().map_or(0, |idempotency| idempotency.fence);
    let mut runs = effects.clone().into_os_string();
    runs.push(".runs");
    open(Path::new(&runs))?.write_all(format!("{key} {pid} {fence}\n").as_bytes())?;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    take_effect(effects, &key, pid)?;
    Ok(Worked { key, pid })
}

fn take_effect(path: &Path, key: &str, pid: u32) -> io::Result<()> {
    let mut effects = open(path)?;
    // Released when the file is closed, also by a kill.
    effects.lock()?;
    let mut taken = String::new();
    effects.read_to_string(&mut taken)?;
    match taken
        .lines()
        .any(|line| line.split(' ').next() == Some(key))
    {
        true => Ok(()),
        false => effects.write_all(format!("{key} {pid}\n").as_bytes()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
}

struct Asked<'a> {
    target: &'a str,
    action: &'a str,
    parameters: Value,
    key: &'a str,
}

async fn requester(url: &str, command: &Asked<'_>, count: usize) -> Done {
    let client = Client::connect(Config::new(url).name("requester")).await?;
    for answer in try_join_all((0..count).map(|_| ask(&client, command))).await? {
        println!("{answer}");
    }
    Ok(())
}

async fn ask(client: &Client, command: &Asked<'_>) -> Result<Value, Box<dyn Error>> {
    let reply = client
        .send_command::<Value>(command.target, command.action, &command.parameters)
        .idempotency_key(command.key)
        .timeout(PATIENCE)
        .reply()
        .await?;
    let replayed = reply.replayed;
    Ok(match reply.into_outcome() {
        Some(Ok(result)) => json!({"result": result.decode::<Value>()?, "replayed": replayed}),
        Some(Err(error)) => json!({"error": error, "replayed": replayed}),
        None => json!({"error": "neither result nor error", "replayed": replayed}),
    })
}
