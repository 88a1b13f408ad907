//! Agents: who runs, and what waits for them.

use std::collections::BTreeMap;

use mcp_agent_sdk::{
    Client, Priority,
    runtime::{InstanceState, topology},
};

use super::finding::Finding;
use crate::{
    failure::{Failure, chain},
    presence, streams,
};

/// What is known of one agent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Agent {
    instances: usize,
    full: usize,
    lanes: usize,
    waiting: u64,
    in_work: usize,
    /// Commands on subjects for which there is no consumer.
    unclaimed: usize,
}

/// One finding per agent, one per event subscription.
pub(super) async fn check(client: &Client) -> Result<Vec<Finding>, Failure> {
    let namespace = client.namespace();
    let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
    for record in presence::records(client).await? {
        let agent = agents.entry(record.agent).or_default();
        agent.instances += 1;
        agent.full += usize::from(record.state == InstanceState::Busy);
    }
    for info in streams::consumers(client, &namespace.commands_stream()).await? {
        let Some((name, _)) = streams::lane_of(&info.name) else {
            continue;
        };
        let agent = agents.entry(name.to_owned()).or_default();
        agent.lanes += 1;
        agent.waiting += info.num_pending;
        agent.in_work += info.num_ack_pending;
    }
    let commands = streams::existing(client.jetstream(), &namespace.commands_stream()).await?;
    for (subject, count) in streams::subjects(&commands, &format!("{namespace}.cmd.>")).await? {
        let agent = agents
            .entry(subject.split('.').nth(2).unwrap_or_default().to_owned())
            .or_default();
        if agent.lanes == 0 {
            agent.unclaimed += count;
        }
    }

    let mut findings = Vec::new();
    for (name, agent) in &agents {
        findings.push(finding(name, agent));
        findings.extend(lane_settings(client, name, agent).await?);
    }
    if agents.is_empty() {
        findings.push(Finding::ok("agents", "none has run here yet"));
    }
    findings.extend(subscriptions(client).await?);
    Ok(findings)
}

fn finding(name: &str, agent: &Agent) -> Finding {
    let Agent {
        instances,
        full,
        waiting,
        in_work,
        unclaimed,
        ..
    } = *agent;
    let subject = format!("agent {name}");
    if unclaimed > 0 {
        let commands = if unclaimed == 1 {
            "1 command waits".to_owned()
        } else {
            format!("{unclaimed} commands wait")
        };
        return Finding::warn(subject, format!("{commands}, and it has never run"))
            .remedy("start it; or was the name a typing mistake?");
    }
    let text = format!("{instances} running, {waiting} commands waiting, {in_work} in work");
    match (instances, waiting + in_work as u64) {
        (0, 1..) => Finding::warn(subject, text).remedy("start an instance"),
        (1.., _) if full == instances && waiting > 0 => Finding::warn(subject, text)
            .remedy("all instances are full: start more, or raise MCP_AGENT_CAPACITY"),
        _ => Finding::ok(subject, text),
    }
}

/// Whether the lanes' consumers are as needed. Only asked when all are there: missing ones would be created.
async fn lane_settings(
    client: &Client,
    name: &str,
    agent: &Agent,
) -> Result<Option<Finding>, Failure> {
    if agent.lanes != Priority::ALL.len() {
        return Ok(None);
    }
    match topology::ensure_agent(client.jetstream(), client.namespace().as_str(), name).await {
        Ok(()) => Ok(None),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(error) => Ok(Some(Finding::fail(format!("agent {name}"), chain(&error)))),
    }
}

async fn subscriptions(client: &Client) -> Result<Vec<Finding>, Failure> {
    let found = streams::consumers(client, &client.namespace().events_stream()).await?;
    let durable = found
        .into_iter()
        .filter(|info| info.config.durable_name.is_some());
    Ok(durable
        .map(|info| {
            let text = format!(
                "{} events waiting, {} in work",
                info.num_pending, info.num_ack_pending
            );
            Finding::ok(format!("subscription {}", info.name), text)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn waiting_commands_without_anyone_to_do_them_are_a_warning() {
        let check =
            |agent: Agent, level: Level| assert_eq!(finding("a", &agent).level, level, "{agent:?}");
        check(Agent::default(), Level::Ok);
        check(
            Agent {
                waiting: 1,
                lanes: 4,
                ..Agent::default()
            },
            Level::Warn,
        );
        check(
            Agent {
                in_work: 1,
                lanes: 4,
                ..Agent::default()
            },
            Level::Warn,
        );
        check(
            Agent {
                unclaimed: 2,
                ..Agent::default()
            },
            Level::Warn,
        );
        check(
            Agent {
                instances: 2,
                full: 1,
                waiting: 9,
                ..Agent::default()
            },
            Level::Ok,
        );
        check(
            Agent {
                instances: 2,
                full: 2,
                waiting: 9,
                ..Agent::default()
            },
            Level::Warn,
        );
    }
}
