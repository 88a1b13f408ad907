//! `mcpctl breakers`: the circuit breakers of the running agents, and opening or closing them by hand.

mod watch;

use std::time::Duration;

use async_nats::HeaderMap;
use clap::{Args, Subcommand};
use mcp_agent_sdk::runtime::{BreakerStatus, Name, PresenceRecord, resilience::BreakerState};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Cell, Table, Tone, age},
    presence,
};

/// Shows the circuit breakers of the running agents, and opens or closes them by hand.
///
/// An agent publishes those of its breakers that are not closed, and those with recent calls, at most 64. Every client has
/// breakers of its own; those of programs that are no agents are not seen here.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  mcpctl breakers --watch
  mcpctl breakers open renderer --agent director --for 30s"
)]
pub(crate) struct BreakersArgs {
    #[command(subcommand)]
    order: Option<Order>,
    /// Only the breakers of this agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Goes on until Ctrl-C: a line for each breaker that changes its state; with --json one document a line
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Opens a breaker: its commands are refused with CIRCUIT_OPEN, whatever the target does
    Open {
        #[command(flatten)]
        breaker: Breaker,
        /// For how long, after which it is half-open; at most a day, which is also the default
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
    },
    /// Closes a breaker and forgets what it counted; without --action also those of all actions
    Reset {
        #[command(flatten)]
        breaker: Breaker,
    },
}

#[derive(Debug, Args)]
struct Breaker {
    /// The agent that commands are sent to
    target: String,
    /// The agent whose breaker it is: the one that sends
    #[arg(long, value_name = "AGENT")]
    agent: String,
    /// Only this instance of it
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Only for this action of the target
    #[arg(long)]
    action: Option<String>,
}

pub(crate) async fn run(args: BreakersArgs, global: &Global) -> Result<(), Failure> {
    match args.order {
        None if args.watch => watch::watch(args.agent.as_deref(), global).await,
        None => list(args.agent.as_deref(), global).await,
        Some(Order::Open { breaker, time }) => {
            let for_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            breaker.tell("open", for_ms, global).await
        }
        Some(Order::Reset { breaker }) => breaker.tell("reset", None, global).await,
    }
}

async fn list(agent: Option<&str>, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await?;
    let mut records = presence::records(&client).await?;
    records.retain(|record| agent.is_none_or(|agent| record.agent == agent));
    if global.json {
        output::json(&json!({ "breakers": documents(&records) }));
    } else if records.iter().all(|record| record.breakers.is_empty()) {
        output::note("no running agent has a breaker that is open, or has had calls of late");
    } else {
        output::line(table(&records).render());
    }
    Ok(())
}

fn documents(records: &[PresenceRecord]) -> Vec<Value> {
    let mut all = Vec::new();
    for record in records {
        for breaker in &record.breakers {
            let mut document = json!(breaker);
            document["agent"] = record.agent.as_str().into();
            document["instance"] = record.instance.as_str().into();
            all.push(document);
        }
    }
    all
}

fn table(records: &[PresenceRecord]) -> Table {
    let mut table = Table::new(&[
        "agent", "instance", "target", "action", "state", "left", "failed",
    ]);
    for record in records {
        for breaker in &record.breakers {
            let left = breaker.open_ms_left.map(Duration::from_millis);
            table.row([
                Cell::toned(Tone::Strong, record.agent.as_str()),
                record.instance.as_str().into(),
                breaker.target.as_str().into(),
                breaker.action.as_deref().unwrap_or("all").into(),
                state(breaker),
                left.map(age).unwrap_or_default().into(),
                format!("{} of {}", breaker.failures, breaker.calls).into(),
            ]);
        }
    }
    table
}

fn state(breaker: &BreakerStatus) -> Cell {
    let (tone, words) = state_in_words(breaker);
    Cell::toned(tone, words)
}

pub(super) fn state_in_words(breaker: &BreakerStatus) -> (Tone, &'static str) {
    match (breaker.state, breaker.forced) {
        (BreakerState::Closed, _) => (Tone::Good, "closed"),
        (BreakerState::HalfOpen, _) => (Tone::Warning, "half-open"),
        (BreakerState::Open, false) => (Tone::Bad, "open"),
        (BreakerState::Open, true) => (Tone::Bad, "open (forced)"),
    }
}

impl Breaker {
    /// Sends the control verb to the agent whose breaker it is.
    async fn tell(&self, verb: &str, for_ms: Option<u64>, global: &Global) -> Result<(), Failure> {
        for name in [Some(&self.target), Some(&self.agent), self.action.as_ref()] {
            if let Some(Err(error)) = name.map(|name| Name::new(name)) {
                return Err(Failure::usage(error.to_string()));
            }
        }
        let client = global.connect().await?;
        let instances = presence::records(&client).await?;
        let told = instances
            .iter()
            .filter(|record| self.is_meant(record))
            .count();
        let mut body = json!({ "target": self.target, "do": verb });
        let optional = [
            ("action", json!(self.action)),
            ("instance", json!(self.instance)),
            ("for_ms", json!(for_ms)),
        ];
        for (field, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
            body[field] = value;
        }
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let subject = format!("{}.ctl.{}.breaker", client.namespace(), self.agent);
        let sent = client
            .nats()
            .publish_with_headers(subject, headers, body.to_string().into());
        sent.await
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        client.flush().await;
        self.report(verb, told, global)
    }

    fn is_meant(&self, record: &PresenceRecord) -> bool {
        let instance = self.instance.as_ref();
        record.agent == self.agent && instance.is_none_or(|instance| *instance == record.instance)
    }

    fn report(&self, verb: &str, told: usize, global: &Global) -> Result<(), Failure> {
        let document = json!({
            "agent": self.agent, "target": self.target, "action": self.action, "do": verb, "instances": told,
        });
        if told == 0 {
            let whose = match &self.instance {
                Some(instance) => format!("instance `{instance}` of `{}`", self.agent),
                None => format!("instance of `{}`", self.agent),
            };
            return Err(
                Failure::answered(format!("no {whose} runs, so nobody heard it"))
                    .remedy("`mcpctl agents` lists those that run")
                    .document(document),
            );
        }
        if global.json {
            output::json(&document);
            return Ok(());
        }
        let instances = match told {
            1 => "one instance".to_owned(),
            many => format!("{many} instances"),
        };
        let whom = match &self.action {
            Some(action) => format!("{}.{action}", self.target),
            None => self.target.clone(),
        };
        output::line(format!(
            "told {instances} of {} to {verb} the breaker of {whom}",
            self.agent
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_whose_breaker_it_is_and_how_it_stands() {
        let record: PresenceRecord = serde_json::from_value(json!({
            "agent": "director", "instance": "d1", "state": "ready",
            "breakers": [
                { "target": "renderer", "state": "open", "forced": true, "open_ms_left": 30_000, "calls": 0, "failures": 0 },
                { "target": "voice", "action": "speak", "state": "closed", "calls": 9, "failures": 2 },
            ],
        }))
        .unwrap();
        let text = table(std::slice::from_ref(&record)).render();
        for part in [
            "director",
            "d1",
            "renderer",
            "open (forced)",
            "30s",
            "speak",
            "2 of 9",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        let documents = documents(&[record]);
        assert_eq!(documents[0]["agent"], "director");
        assert_eq!(documents[1]["state"], "closed");
    }
}
