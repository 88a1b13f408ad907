//! `mcpctl top`: the whole system on one screen.

mod board;
mod look;
mod page;
mod screen;
mod workflows;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    cli::Global,
    commands::agents::now_ms,
    failure::Failure,
    output::{self, utc},
};

use board::Board;
use look::Observer;
use page::{Heading, View};

/// Looks that follow each other faster would load the server.
const FASTEST: Duration = Duration::from_millis(200);

/// What a line may take where no terminal says it.
const WIDTH: usize = 120;

const HELP: &str = "\
Columns: INST instances that are there; LOAD handlers that run, of those that may; CRIT HIGH NORM LOW commands queued by lane;
WORK delivered and not settled; IN/S commands that came and OUT/S deliveries that ended, a second (a pack counts as one, a
redelivery once more); DEAD dead letters. Realtime commands are in nobody's queue and show in the load alone.

Keys: q quit; s the next order: name, load, queued, rate, dead letters; i agents or instances; p or space pause and go on;
arrows, page keys, g to the top.

Example: mcpctl top --interval 5s
Example: mcpctl top --once | less
Example: mcpctl --json top";

/// Shows the whole system on one screen, refreshed live: agents with load, lanes and rates, breakers, dead letters, workflows.
///
/// With --once, with --json, or where stdout is no terminal it is printed once, with rates of one interval.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TopArgs {
    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    interval: Duration,
    /// Prints it once, as text
    #[arg(long)]
    once: bool,
    /// What stands first
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,
    /// A line for each instance, not for each agent
    #[arg(long)]
    instances: bool,
}

/// The order of the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Name,
    Load,
    Queued,
    Rate,
    Dead,
}

impl Sort {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Load => "load",
            Self::Queued => "queued",
            Self::Rate => "rate",
            Self::Dead => "dead",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Load,
            Self::Load => Self::Queued,
            Self::Queued => Self::Rate,
            Self::Rate => Self::Dead,
            Self::Dead => Self::Name,
        }
    }
}

fn every(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span >= FASTEST => Ok(span),
        _ => Err("use a duration of at least 200ms, such as `1s`".to_owned()),
    }
}

pub(crate) async fn run(args: TopArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let observer = Observer::begin(&client).await?;
    let view = View {
        sort: args.sort,
        instances: args.instances,
        paused: false,
        offset: 0,
    };
    let heading = Heading {
        server: global.server_shown(),
        namespace: global.namespace.clone(),
        clock: clock(),
        now_ms: now_ms(),
        trouble: None,
    };
    let is_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    if is_screen && !args.once && !global.json {
        return Box::pin(screen::run(observer, view, heading, args.interval)).await;
    }
    let board = once(observer, args.interval).await?;
    if global.json {
        output::json(&json!({
            "server": heading.server,
            "namespace": heading.namespace,
            "at": now_ms(),
            "totals": board.totals,
            "agents": board.agents,
            "breakers": board.breakers,
            "workflows": board.workflows,
            "several_versions": board.several_versions,
        }));
        return Ok(());
    }
    for line in page::whole(&board, &view, &heading, WIDTH) {
        if output::try_line(line.shown(usize::MAX).trim_end()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Two looks, for the rates between them.
async fn once(mut observer: Observer, interval: Duration) -> Result<Board, Failure> {
    let before = observer.look().await?;
    sleep(interval).await;
    Ok(Board::of(Some(&before), &observer.look().await?))
}

/// The time of day, for the heading.
fn clock() -> String {
    let now = utc(now_ms());
    let time = now.split(' ').nth(1).unwrap_or(&now);
    format!("{}Z", time.split('.').next().unwrap_or(time))
}
