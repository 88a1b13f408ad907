//! The command line: what every command shares, and which commands there are.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand, builder::NonEmptyStringValueParser};
use mcp_agent_sdk::{
    Client, Config,
    runtime::{
        DEFAULT_URL, env_parsed,
        topology::TopologyConfig,
        transport::{self, StoreError},
    },
};
use tokio::{sync::SetOnce, time::timeout};

use crate::{commands, failure::Failure, probe};

/// Connecting and checking eleven streams takes milliseconds; a server that is slower than this is as good as away.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 the action answered an error, or a check failed; 2 bad usage or configuration; \
3 server unreachable or no answer in time.

Try: mcpctl dev                                  # a server of your own
     mcpctl probe                                # in a second terminal: a test agent
     mcpctl send probe echo -p '{\"hello\": 1}'    # in a third: ask it something";

/// Runs, checks and talks to an MCP (Multi-agent Communication Protocol) system on NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "mcpctl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The NATS server, or several separated by commas
    #[arg(long, global = true, env = "MCP_NATS_URL", default_value = DEFAULT_URL, value_name = "URL",
          value_parser = NonEmptyStringValueParser::new(), hide_env_values = true)]
    pub(crate) server: String,

    /// The namespace: first token of every subject, prefix of every stream
    #[arg(
        long,
        global = true,
        env = "MCP_NAMESPACE",
        default_value = "mcp",
        value_name = "NAME"
    )]
    pub(crate) namespace: String,

    /// A NATS credentials file; a folder that `mcpctl auth` has made is named by MCP_AUTH
    #[arg(long, global = true, env = "MCP_NATS_CREDS", value_name = "FILE")]
    pub(crate) creds: Option<PathBuf>,

    /// One JSON document on stdout, everything else on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The first question that the server refuses
    #[arg(skip)]
    refused: Arc<SetOnce<StoreError>>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a NATS server for development and keeps its data
    Dev(commands::dev::DevArgs),
    /// Creates the streams and buckets, or checks those that exist
    Setup(commands::setup::SetupArgs),
    /// Checks server, streams, consumers and clocks, with a remedy for what is wrong
    Doctor(commands::doctor::DoctorArgs),
    /// Runs a test agent, for trying a deployment out
    Probe(probe::ProbeArgs),
    /// Sends a command to an agent and prints the result
    Send(commands::send::SendArgs),
    /// Shows what came of a command that was submitted, or sent with an idempotency key
    Outcome(commands::outcome::OutcomeArgs),
    /// Cancels a command, running or still queued
    Cancel(commands::cancel::CancelArgs),
    /// Says what causes an error code, and what to do about it
    Explain(commands::explain::ExplainArgs),
    /// Finds stored messages: queued, in flight, done or dead
    #[command(subcommand)]
    Messages(commands::messages::MessagesCommand),
    /// Deals with dead letters: commands that could not be handled
    #[command(subcommand)]
    Dead(commands::dead::DeadCommand),
    /// Publishes events, or shows them as they come
    #[command(subcommand)]
    Events(commands::events::EventsCommand),
    /// Starts, watches and steers workflows: durable state machines
    #[command(subcommand)]
    Workflow(commands::workflow::WorkflowCommand),
    /// Lists the agents that are running
    Agents(commands::agents::AgentsArgs),
    /// Tells who handled a command or a workflow, when, and for how long
    Trace(commands::trace::TraceArgs),
    /// Measures this deployment with the test agent: rates, percentiles, and what limits them
    Bench(commands::bench::BenchArgs),
    /// Shows what the instances of an agent have sent and received of late
    History(commands::history::HistoryArgs),
    /// Shows the whole system on one screen, live
    Top(commands::top::TopArgs),
    /// Shows the circuit breakers of the running agents, and opens or closes them by hand
    Breakers(commands::breakers::BreakersArgs),
    /// Saves everything durable of a namespace into a folder
    Backup(commands::backup::BackupArgs),
    /// Brings a namespace back from a backup
    Restore(commands::restore::RestoreArgs),
    /// Makes keys, certificates and the exact rights of each agent
    Auth(commands::auth::AuthArgs),
    /// Makes a short video with a team of agents, on a server of its own
    Demo(commands::demo::DemoArgs),
    /// Writes a new project with one agent, ready to run
    New(commands::new::NewArgs),
}

impl Global {
    /// How to connect under the name `name`, which becomes the `source` of what is sent.
    ///
    /// What has no option comes from the environment; the options have read theirs already.
    pub(crate) fn config(&self, name: &str) -> Result<Config, Failure> {
        let mut config = Config::from_env()?
            .url(&self.server)
            .namespace(&self.namespace)
            .name(name);
        if let Some(path) = &self.creds {
            config = config.credentials(path);
        }
        Ok(config)
    }

    /// Whether options or the environment say as whom to connect.
    pub(crate) fn has_identity(&self) -> bool {
        let variables = ["MCP_AUTH", "MCP_NATS_NKEY"];
        self.creds.is_some()
            || variables
                .iter()
                .any(|name| std::env::var_os(name).is_some())
    }

    /// The server's address, without credentials that may stand in it.
    pub(crate) fn server_shown(&self) -> String {
        Config::new(&self.server).display_url()
    }

    /// What streams and buckets have to be like, as far as the environment says.
    pub(crate) fn topology(&self) -> Result<TopologyConfig, Failure> {
        Ok(TopologyConfig {
            namespace: self.namespace.clone(),
            replicas: env_parsed("MCP_REPLICAS", "a number from 1 to 5")?,
            workflow_shards: env_parsed("MCP_WORKFLOW_SHARDS", "a number from 1 to 64")?,
            ..TopologyConfig::default()
        })
    }

    /// Begins to listen before the first question is asked: its refusal may be there sooner than anybody is.
    fn hear_of_refusals(&self, client: &Client) {
        let refusal = transport::refused_question(client);
        let refused = Arc::clone(&self.refused);
        tokio::spawn(async move {
            // The first one ends the command; the others are of no matter.
            let _ = refused.set(refusal.await);
        });
    }

    /// Connects as `mcpctl`, within a bounded time.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(self.config("mcpctl")?).await
    }

    /// Connects with a configuration of the command's own.
    pub(crate) async fn connect_with(&self, config: Config) -> Result<Client, Failure> {
        let server = config.display_url();
        match timeout(CONNECT_LIMIT, Client::connect(config)).await {
            Ok(connected) => {
                let client = connected?;
                self.hear_of_refusals(&client);
                Ok(client)
            }
            Err(_) => Err(Failure::unreachable(format!(
                "the server at {server} did not answer within {} s",
                CONNECT_LIMIT.as_secs()
            ))),
        }
    }
}

/// Waits until the server refuses a question: then there is no answer, and nothing else that a command could go on with.
pub(crate) async fn refused(global: Global) -> Failure {
    global.refused.wait().await.clone().into()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_before_and_after_the_command() {
        for line in ["mcpctl --json agents", "mcpctl agents --json"] {
            assert!(
                Cli::try_parse_from(line.split(' ')).unwrap().global.json,
                "{line}"
            );
        }
    }
}
