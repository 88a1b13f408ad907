//! `mcpctl auth`: who may connect to the servers, and exactly what each of them may do.
//!
//! Everything lies in one folder. `roster` says who is who and what they are there for; `rights` derives from it what each may
//! publish and hear; `server` writes that down for nats-server; `secrets` and `certificates` make keys. No seed and no private
//! key is ever printed.

mod agent;
mod apply;
mod certificates;
mod expected;
mod init;
mod rights;
mod roster;
mod rotate;
mod secrets;
mod server;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{cli::Global, failure::Failure};
pub(crate) use expected::{Expected, expected};
use roster::Folder;

const AFTER_HELP: &str = "\
Examples:
  mcpctl auth init --host nats-1 --host nats-2 --host nats-3
  mcpctl auth agent add director --commands writer,renderer --runs video --payloads
  mcpctl auth agent add writer
  mcpctl auth show director
  nats-server --signal reload                  # after each change
  MCP_AUTH=auth/identities/mcp/admin mcpctl auth apply";

/// Makes keys, certificates and the exact rights of each agent, for nats-servers without an operator.
///
/// Everything lies in one folder: `server/` is for the servers, `identities/NAMESPACE/NAME/` for one process, which gets it by
/// MCP_AUTH. Running a command again changes nothing that is there already.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AuthArgs {
    /// The folder with everything
    #[arg(
        long,
        global = true,
        env = "MCP_AUTH_DIR",
        default_value = "auth",
        value_name = "FOLDER"
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    /// Makes the folder, a namespace in it, and its administrator
    Init(init::InitArgs),
    /// Adds, changes or removes an identity
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Gives an identity a new key, in two steps: both are valid, then `--forget-old`
    Rotate(rotate::RotateArgs),
    /// Shows who there is, or exactly what one identity may do
    Show(show::ShowArgs),
    /// Creates the streams, buckets and consumers that the identities need, as the administrator
    Apply(apply::ApplyArgs),
}

pub(crate) async fn run(args: AuthArgs, global: &Global) -> Result<(), Failure> {
    let folder = Folder::at(args.dir);
    match args.command {
        AuthCommand::Init(args) => init::run(&args, &folder, global),
        AuthCommand::Agent(command) => agent::run(command, &folder, global),
        AuthCommand::Rotate(args) => rotate::run(&args, &folder, global),
        AuthCommand::Show(args) => show::run(&args, &folder, global),
        AuthCommand::Apply(args) => apply::run(&args, &folder, global).await,
    }
}
