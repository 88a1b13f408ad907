//! Consumers that nobody pulls from any more. They cost little, but what waits for them is never done, and a forgotten one on a
//! work queue keeps its messages for ever.

use std::collections::BTreeSet;

use async_nats::jetstream::consumer::Info;
use mcp_agent_sdk::{Client, Priority};

use super::finding::Finding;
use crate::{failure::Failure, presence, streams};

/// What waits for a subscription before somebody should look.
const LAG: u64 = 10_000;

/// One finding for each consumer in trouble, or one that all is well.
pub(super) async fn check(client: &Client, shards: u16) -> Result<Vec<Finding>, Failure> {
    let namespace = client.namespace();
    let records = presence::records(client).await?;
    let running: BTreeSet<&str> = records.iter().map(|record| record.agent.as_str()).collect();
    let run: BTreeSet<&str> = records
        .iter()
        .flat_map(|record| &record.definitions)
        .filter_map(|definition| definition["name"].as_str())
        .collect();
    let mut findings = Vec::new();
    let commands = namespace.commands_stream();
    for info in streams::consumers(client, &commands).await? {
        findings.extend(of_commands(&commands, &info));
    }
    let events = namespace.events_stream();
    for info in streams::consumers(client, &events).await? {
        findings.extend(of_events(&events, &info, &running));
    }
    for shard in 0..shards {
        let tasks = namespace.tasks_stream(shard);
        for info in streams::consumers(client, &tasks).await? {
            findings.extend(of_tasks(&info, &run));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "consumers",
            "none is orphaned, and none lags far behind",
        ));
    }
    Ok(findings)
}

/// On the work queue only lanes make sense: each message belongs to one consumer, which another would take away.
fn of_commands(stream: &str, info: &Info) -> Option<Finding> {
    let lane = info.name.rsplit_once('_').map(|(_, lane)| lane);
    let is_lane = lane.is_some_and(|lane| lane.parse::<Priority>().is_ok());
    (!is_lane).then(|| {
        Finding::warn(
            subject(info),
            "it is no lane of an agent, and takes commands away from one",
        )
        .remedy(remove(stream, info))
    })
}

fn of_events(stream: &str, info: &Info, running: &BTreeSet<&str>) -> Option<Finding> {
    let agent = info.name.split_once("_evt_").map(|(agent, _)| agent)?;
    match (running.contains(agent), info.num_pending) {
        (false, 1..) => Some(
            Finding::warn(
                subject(info),
                format!(
                    "nobody of `{agent}` runs, and {} events wait",
                    info.num_pending
                ),
            )
            .remedy(format!("start `{agent}`, or {}", remove(stream, info))),
        ),
        (true, LAG..) => Some(
            Finding::warn(subject(info), format!("{} events behind", info.num_pending)).remedy(
                format!("start more of `{agent}`, or raise the subscription's concurrency"),
            ),
        ),
        _ => None,
    }
}

fn of_tasks(info: &Info, run: &BTreeSet<&str>) -> Option<Finding> {
    let definition = info
        .name
        .rsplit_once('_')
        .map(|(definition, _)| definition)?;
    let waiting = info.num_pending + info.num_ack_pending as u64;
    (!run.contains(definition) && waiting > 0).then(|| {
        Finding::warn(
            subject(info),
            format!("no engine of `{definition}` runs, and {waiting} tasks wait"),
        )
        .remedy(format!("start an agent that runs `{definition}`"))
    })
}

fn subject(info: &Info) -> String {
    format!("consumer {}", info.name)
}

fn remove(stream: &str, info: &Info) -> String {
    format!("remove it with `nats consumer rm {stream} {}`", info.name)
}
