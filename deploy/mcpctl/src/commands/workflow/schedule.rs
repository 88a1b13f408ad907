//! `mcpctl workflow schedule`: workflows and commands by interval or cron.

mod add;
mod show;

use clap::{Args, Subcommand};
use mcp_agent_sdk::{Agent, Name, Schedules};

use crate::{cli::Global, failure::Failure};

/// Starts workflows and sends commands by interval or cron, each time once.
///
/// Schedules are kept by the server and run by agents that host them (`Agent::schedules`), or by `mcpctl workflow schedule run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcpctl workflow schedule add nightly --cron '0 2 * * *' --zone Europe/Berlin --start clean_up
  mcpctl workflow schedule add beat --every 30s --send probe echo -p '{\"n\": 1}'
  mcpctl workflow schedule pause nightly")]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Adds a schedule
    Add(add::AddArgs),
    /// Lists the schedules, with their next times
    List,
    /// Shows one
    Show(Which),
    /// Lets one rest; times within the pause are not made up for
    Pause(Which),
    /// Lets a paused one go on
    Resume(Which),
    /// Removes one; what it has started stays
    Remove(Which),
    /// Does at once what one does at its times
    RunNow(Which),
    /// Runs the schedules until Ctrl-C; several may run, and agents may host them instead
    Run,
}

#[derive(Debug, Args)]
struct Which {
    /// The schedule's name
    name: Name,
}

pub(super) async fn run(args: ScheduleArgs, global: &Global) -> Result<(), Failure> {
    if let Order::Run = args.order {
        let config = global.config("scheduler")?;
        return Ok(Agent::new("scheduler").schedules().run_with(config).await?);
    }
    let client = global.connect().await?;
    let schedules = Schedules::new(&client);
    let info = match args.order {
        Order::Add(args) => return Box::pin(add::run(args, &client, global)).await,
        Order::List => return show::list(&client, global).await,
        Order::Show(which) => {
            let found = schedules.get(which.name.as_str()).await?;
            found.ok_or_else(|| no_such(&which.name))?
        }
        Order::Pause(which) => schedules.pause(which.name.as_str()).await?,
        Order::Resume(which) => schedules.resume(which.name.as_str()).await?,
        Order::Remove(which) => schedules.remove(which.name.as_str()).await?,
        Order::RunNow(which) => schedules.run_now(which.name.as_str()).await?,
        Order::Run => return Ok(()),
    };
    show::one(&client, &info, global).await
}

fn no_such(name: &Name) -> Failure {
    Failure::answered(format!("there is no schedule `{name}`"))
        .remedy("`mcpctl workflow schedule list` shows those there are")
}
