//! `mcpctl workflow schedule add`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mcp_agent_sdk::{CatchUp, Client, Name, SCHEDULES, Schedule, Schedules};

use super::show;
use crate::{cli::Global, failure::Failure, output, parameters::Parameters, presence};

/// Adds a schedule: when, and what.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("when").required(true),
    group = clap::ArgGroup::new("what").required(true),
)]
pub(super) struct AddArgs {
    /// The schedule's name
    name: Name,
    /// Every so often, at least 1s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, group = "when")]
    every: Option<Duration>,
    /// By a cron expression: minute hour day month weekday
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    cron: Option<String>,
    /// The time zone of the cron expression
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "cron")]
    zone: String,
    /// Starts a workflow of this definition, with the id NAME-<time>
    #[arg(long, value_name = "DEFINITION", group = "what")]
    start: Option<Name>,
    /// Sends a command, with the idempotency key NAME-<time>
    #[arg(long, num_args = 2, value_names = ["AGENT", "ACTION"], group = "what")]
    send: Vec<Name>,
    #[command(flatten)]
    data: Parameters,
    /// What happens to times at which nobody ran schedules
    #[arg(long, value_enum, default_value_t = Missed::Once)]
    catch_up: Missed,
    /// Begins paused
    #[arg(long)]
    paused: bool,
    /// Takes the place of one of the same name
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missed {
    /// They are left out
    Skip,
    /// The last one is made up for
    Once,
    /// Each is made up for, of many the last 100
    All,
}

pub(super) async fn run(args: AddArgs, client: &Client, global: &Global) -> Result<(), Failure> {
    let data = args.data.read()?;
    let schedule = match (args.every, &args.cron) {
        (Some(every), _) => Schedule::every(every),
        (None, cron) => Schedule::cron(cron.as_deref().unwrap_or_default(), &args.zone),
    };
    let schedule = match (&args.start, args.send.as_slice()) {
        (Some(definition), _) => schedule.starts(definition.as_str(), &data),
        (None, [agent, action]) => schedule.sends(agent.as_str(), action.as_str(), &data),
        (None, _) => schedule,
    };
    let schedule = schedule.catch_up(match args.catch_up {
        Missed::Skip => CatchUp::Skip,
        Missed::Once => CatchUp::Once,
        Missed::All => CatchUp::All,
    });
    let schedule = match args.paused {
        true => schedule.paused(),
        false => schedule,
    };
    let adding = Schedules::new(client).add(args.name.as_str(), schedule);
    let info = match args.replace {
        true => adding.replacing().await?,
        false => adding.await?,
    };
    show::one(client, &info, global).await?;
    if !is_hosted(client).await? {
        output::note(
            "nobody runs schedules now: `Agent::schedules` in an agent does, or `mcpctl workflow schedule run`",
        );
    }
    Ok(())
}

async fn is_hosted(client: &Client) -> Result<bool, Failure> {
    let records = presence::records(client).await?;
    let mut hosted = records.iter().flat_map(|record| &record.definitions);
    Ok(hosted.any(|definition| definition["name"] == SCHEDULES))
}
