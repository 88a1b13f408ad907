//! `mcpctl`, the operator's tool of an MCP (Multi-agent Communication Protocol) system.
//!
//! `cli` is the command line, `commands` has one module per command, `failure` the exit codes, `output` what is
//! printed and where. Data goes to stdout, everything else to stderr.

mod answer;
mod archive;
mod body;
mod cli;
mod commands;
mod failure;
mod jaeger;
mod output;
mod parameters;
mod presence;
mod probe;
mod signals;
mod streams;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};
use mcp_agent_sdk::Telemetry;
use serde_json::json;

use cli::{Cli, Command};
use failure::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misuse(&error),
    };
    let json = cli.global.json;
    let telemetry = telemetry(&mut cli.command).await.map(Telemetry::start);
    let ended = run(cli).await;
    if let Some(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, json),
    }
}

/// How this tool is observed. The probe is an agent, and sees to it itself.
async fn telemetry(command: &mut Command) -> Option<Telemetry> {
    let telemetry = match command {
        Command::Probe(_) => return None,
        Command::Demo(args) => match args.find_jaeger().await {
            Some(endpoint) => Telemetry::of("mcpctl").traces_to(&endpoint),
            None => Telemetry::of("mcpctl"),
        },
        _ => Telemetry::of("mcpctl"),
    };
    // A tool that prints results has no log of its own, unless it is asked for.
    Some(match std::env::var_os("MCP_LOG") {
        Some(_) => telemetry,
        None => telemetry.without_log_lines(),
    })
}

/// Carries a command out, and ends it when the server refuses one of its questions.
async fn run(cli: Cli) -> Result<(), Failure> {
    // An agent says of itself what it may not do, and goes on.
    let is_agent = matches!(
        cli.command,
        Command::Probe(_) | Command::Dev(_) | Command::Demo(_)
    );
    let refused = cli::refused(cli.global.clone());
    tokio::select! {
        biased;
        ended = carry_out(cli) => ended,
        failure = refused, if !is_agent => Err(failure),
    }
}

// Boxed, because the largest command would otherwise be the size of them all.
async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Dev(args) => Box::pin(commands::dev::run(args, global)).await,
        Command::Setup(args) => Box::pin(commands::setup::run(args, global)).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(args, global)).await,
        Command::Probe(args) => Box::pin(probe::run(args, global)).await,
        Command::Send(args) => Box::pin(commands::send::run(args, global)).await,
        Command::Outcome(args) => Box::pin(commands::outcome::run(args, global)).await,
        Command::Cancel(args) => Box::pin(commands::cancel::run(args, global)).await,
        Command::Explain(args) => commands::explain::run(&args, global),
        Command::Messages(command) => Box::pin(commands::messages::run(command, global)).await,
        Command::Dead(command) => Box::pin(commands::dead::run(command, global)).await,
        Command::Events(command) => Box::pin(commands::events::run(command, global)).await,
        Command::Workflow(command) => Box::pin(commands::workflow::run(command, global)).await,
        Command::Agents(args) => Box::pin(commands::agents::run(args, global)).await,
        Command::Trace(args) => Box::pin(commands::trace::run(args, global)).await,
        Command::History(args) => Box::pin(commands::history::run(args, global)).await,
        Command::Bench(args) => Box::pin(commands::bench::run(args, global)).await,
        Command::Top(args) => Box::pin(commands::top::run(args, global)).await,
        Command::Breakers(args) => Box::pin(commands::breakers::run(args, global)).await,
        Command::Backup(args) => Box::pin(commands::backup::run(args, global)).await,
        Command::Restore(args) => Box::pin(commands::restore::run(args, global)).await,
        Command::Auth(args) => Box::pin(commands::auth::run(args, global)).await,
        Command::Demo(args) => Box::pin(commands::demo::run(args, global)).await,
        Command::New(args) => commands::new::run(&args, global),
    }
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    if json {
        failure.print_json();
    }
    output::error(&failure.sentence());
    failure.exit_code()
}

/// Prints help and version, or what is wrong with the command line.
fn misuse(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when even the message cannot be written.
    let _ = error.print();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return ExitCode::SUCCESS;
    }
    // The command line could not be read, so it is searched: a script gets its document all the same.
    if std::env::args().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        output::json(&json!({ "error": { "code": "USAGE", "message": message } }));
    }
    ExitCode::from(2)
}
