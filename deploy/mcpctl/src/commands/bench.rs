//! `mcpctl bench`: how fast this deployment is, measured with the test agent.

mod level;
mod limit;

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mcp_agent_sdk::{Client, Priority};
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, brief},
    presence,
};

use level::{Level, Load};

/// More than a client has use for.
const MOST_IN_FLIGHT: usize = 4_096;

/// Round trips that nothing else is on its way with tell what one costs.
const ALONE: usize = 1;

/// Measures commands to the test agent `mcpctl probe`: how many a second, how long each takes, and what limits them.
///
/// Run as many probes as the agents have instances, on the machines where these run. Everything that is sent is answered at
/// once, is small and leaves nothing behind, but it competes with the real work for as long as it lasts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcpctl bench
  mcpctl bench --in-flight 1,32,512 --size 4096 --time 10s --json")]
pub(crate) struct BenchArgs {
    /// The name under which the test agent runs
    #[arg(long, value_name = "AGENT", default_value = "probe")]
    agent: String,
    /// How many commands are on their way at once, one measurement for each number
    #[arg(long, value_name = "N,N…", value_delimiter = ',', default_value = "1,64,256",
          value_parser = in_flight)]
    in_flight: Vec<usize>,
    /// Bytes of the parameters, which come back as the result
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(..=200_000))]
    size: u32,
    /// How long each measurement takes
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// The lane: critical, high, normal or low
    #[arg(long, value_name = "LANE", default_value_t = Priority::Normal)]
    priority: Priority,
}

fn in_flight(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_IN_FLIGHT).contains(&number) => Ok(number),
        _ => Err(format!("not a number from 1 to {MOST_IN_FLIGHT}")),
    }
}

pub(crate) async fn run(args: BenchArgs, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let records = presence::records(&client).await?;
    let instances = records.iter().filter(|record| record.agent == args.agent);
    let instances = instances.count();
    if instances == 0 {
        return Err(
            Failure::answered(format!("no instance of `{}` runs", args.agent))
                .remedy("start the test agent with `mcpctl probe`, and measure again"),
        );
    }
    let (alone, levels) = measure(&args, &client, global).await;
    let limit = limit::of(&alone, &levels);
    if global.json {
        let document = json!({
            "agent": args.agent, "instances": instances, "size": args.size, "realtime_alone": alone,
            "levels": levels, "limit": limit,
        });
        output::json(&document);
    } else {
        output::line(table(&alone, &levels).render());
        output::line(format!("\n{limit}"));
    }
    match levels.iter().any(|level| level.done > 0) {
        true => Ok(()),
        false => Err(Failure::answered("no command was answered".to_owned())
            .remedy("`mcpctl doctor` checks server, streams and consumers")),
    }
}

/// A realtime round trip alone, and the durable ones that were asked for.
async fn measure(args: &BenchArgs, client: &Client, global: &Global) -> (Level, Vec<Level>) {
    let bar = match output::can_draw() && !global.json {
        true => ProgressBar::new(args.in_flight.len() as u64 + 1).with_style(style()),
        false => ProgressBar::hidden(),
    };
    let load = |in_flight, realtime| Load {
        agent: &args.agent,
        priority: args.priority,
        size: args.size as usize,
        time: args.time,
        in_flight,
        realtime,
    };
    bar.set_message("realtime, 1 in flight");
    let alone = load(ALONE, true).measure(client).await;
    let mut levels = Vec::new();
    for in_flight in args.in_flight.iter().copied() {
        bar.inc(1);
        bar.set_message(format!("durable, {in_flight} in flight"));
        levels.push(load(in_flight, false).measure(client).await);
    }
    bar.finish_and_clear();
    (alone, levels)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:20} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn table(alone: &Level, levels: &[Level]) -> Table {
    let mut table = Table::new(&[
        "kind",
        "in flight",
        "done/s",
        "p50",
        "p90",
        "p99",
        "failed",
        "handlers busy",
    ]);
    let rows =
        std::iter::once(("realtime", alone)).chain(levels.iter().map(|level| ("durable", level)));
    for (kind, level) in rows {
        let failed = match level.failed {
            0 => Cell::toned(Tone::Quiet, "0"),
            some => Cell::toned(Tone::Bad, some.to_string()),
        };
        table.row([
            kind.into(),
            level.in_flight.to_string().into(),
            Cell::toned(Tone::Strong, brief(level.per_second.round() as u64)),
            millis(level.p50_ms).into(),
            millis(level.p90_ms).into(),
            millis(level.p99_ms).into(),
            failed,
            level
                .busy
                .map(|busy| format!("{:.0} %", busy * 100.0))
                .unwrap_or_default()
                .into(),
        ]);
    }
    table
}

fn millis(ms: f64) -> String {
    format!("{ms:.2} ms")
}
