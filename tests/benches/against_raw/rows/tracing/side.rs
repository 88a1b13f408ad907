//! One side: this very program again, as a caller and an agent that are traced as its environment says.
//!
//! It reads the length of a round from its standard input and writes the rate; at the end of the input it ends.

use std::{env, io, process::Stdio, time::Duration};

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, Telemetry, runtime::topology::TopologyConfig,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{Failed, load};

use super::PARALLEL;

/// The argument that makes this program a side.
const ARGUMENT: &str = "traced-side";

const AGENT: &str = "traced";

/// Longer than a round with its warm-up; then something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A side as the benchmark sees it; dropping it kills it.
pub(super) struct Side {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Side {
    /// Starts a process with these variables, in a namespace of its own, and waits until it can begin.
    pub(super) async fn start(
        url: &str,
        namespace: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, Failed> {
        let mut command = Command::new(env::current_exe()?);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args([ARGUMENT, url, namespace])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut side = Self {
            orders: child.stdin.take().ok_or_else(pipe)?,
            answers: BufReader::new(child.stdout.take().ok_or_else(pipe)?).lines(),
            child,
        };
        side.answer().await?;
        Ok(side)
    }

    /// Has one round made.
    pub(super) async fn rate(&mut self, window: Duration) -> Result<f64, Failed> {
        let order = format!("{}\n", window.as_millis());
        self.orders.write_all(order.as_bytes()).await?;
        Ok(self.answer().await?.parse()?)
    }

    /// Lets it send its last spans and end.
    pub(super) async fn end(mut self) -> Result<(), Failed> {
        drop(self.orders);
        let status = timeout(PATIENCE, self.child.wait()).await??;
        match status.success() {
            true => Ok(()),
            false => Err(format!("a side ended with {status}").into()),
        }
    }

    async fn answer(&mut self) -> Result<String, Failed> {
        let line = timeout(PATIENCE, self.answers.next_line()).await??;
        line.ok_or_else(|| "a side has ended too early".into())
    }
}

/// Whether this process is to be a side.
pub(crate) fn is_asked_for() -> bool {
    env::args()
        .nth(1)
        .is_some_and(|argument| argument == ARGUMENT)
}

/// Is a side, to its end.
pub(crate) async fn run() -> Result<(), Failed> {
    let mut arguments = env::args().skip(2);
    let (url, namespace) = (arguments.next(), arguments.next());
    let telemetry = Telemetry::of(AGENT).without_log_lines().start();
    let client = connect(
        &url.ok_or("no server is named")?,
        &namespace.ok_or("no namespace is named")?,
    )
    .await?;
    let agent = Agent::new(AGENT)
        .on("echo", echo)
        .capacity(1_024)
        .start(&client)
        .await?;
    println!("ready");
    while let Some(order) = tokio::task::spawn_blocking(order).await?? {
        let window = Duration::from_millis(order.trim().parse()?);
        println!("{}", round(&client, window).await?);
    }
    agent.drain().await;
    telemetry.shutdown().await;
    Ok(())
}

/// The next line of the standard input, if there is one.
fn order() -> io::Result<Option<String>> {
    let mut line = String::new();
    Ok((io::stdin().read_line(&mut line)? > 0).then_some(line))
}

async fn connect(url: &str, namespace: &str) -> Result<Client, Failed> {
    let topology = TopologyConfig {
        namespace: namespace.to_owned(),
        ..TopologyConfig::default()
    };
    let config = Config::new(url).name("bench").topology(topology);
    Ok(Client::connect(config).await?)
}

async fn round(client: &Client, window: Duration) -> Result<f64, Failed> {
    let text = "x".repeat(256);
    let client = client.clone();
    let send = move || {
        let (client, text) = (client.clone(), text.clone());
        async move {
            let answer = client.send_command::<String>(AGENT, "echo", &text).await?;
            match answer.len() == text.len() {
                true => Ok(()),
                false => Err("another answer than was sent".into()),
            }
        }
    };
    Ok(load::closed(PARALLEL, window, send).await?.rate)
}

async fn echo(_ctx: Context, text: String) -> Result<String, McpError> {
    Ok(text)
}
