//! Workflows that nothing brings on any more, checkpoints of none, definitions that nobody runs; and what helps.

use std::{collections::BTreeMap, time::Duration};

use mcp_agent_sdk::{Ailment, Client, SCHEDULES, WorkflowFilter, WorkflowStatus, Workflows};

use super::finding::Finding;
use crate::{failure::Failure, presence};

/// Whether to look only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    Show,
    Do,
}

pub(super) async fn check(
    client: &Client,
    repair: Repair,
    older_than: Duration,
) -> Result<Vec<Finding>, Failure> {
    let workflows = Workflows::new(client);
    let ailments = workflows.ailments(older_than).await?;
    let mut findings = Vec::new();
    for ailment in &ailments {
        findings.push(match repair {
            Repair::Show => shown(ailment),
            Repair::Do => match workflows.heal(ailment).await? {
                true => Finding::ok(
                    subject(ailment),
                    format!("{}; {}", wrong(ailment), done(ailment)),
                ),
                false => Finding::ok(subject(ailment), "has been seen to meanwhile"),
            },
        });
    }
    findings.extend(without_engine(client, &workflows).await?);
    if findings.is_empty() {
        findings.push(Finding::ok(
            "workflows",
            "each has its task or timer, its engine and its record",
        ));
    }
    Ok(findings)
}

fn shown(ailment: &Ailment) -> Finding {
    let finding = match ailment {
        Ailment::OrphanedCheckpoint { .. } => Finding::warn(subject(ailment), wrong(ailment)),
        _ => Finding::fail(subject(ailment), wrong(ailment)),
    };
    finding.remedy("`mcpctl doctor --repair` ".to_owned() + would(ailment))
}

fn subject(ailment: &Ailment) -> String {
    match ailment {
        Ailment::Abandoned(ailing) | Ailment::Overslept(ailing) => {
            format!("workflow {}", ailing.workflow_id)
        }
        Ailment::OrphanedCheckpoint {
            workflow_id, name, ..
        } => {
            format!("checkpoint {name} of {workflow_id}")
        }
        _ => "workflow".to_owned(),
    }
}

fn wrong(ailment: &Ailment) -> String {
    match ailment {
        Ailment::Abandoned(ailing) => {
            format!(
                "runs `{}` by its record, but has no task: no engine will take it",
                ailing.state
            )
        }
        Ailment::Overslept(ailing) => {
            format!(
                "waits in `{}` for a time that has passed, but has no timer",
                ailing.state
            )
        }
        Ailment::OrphanedCheckpoint { .. } => "its workflow is not there any more".to_owned(),
        _ => "something is wrong".to_owned(),
    }
}

fn would(ailment: &Ailment) -> &'static str {
    match ailment {
        Ailment::OrphanedCheckpoint { .. } => "removes it",
        _ => "gives it a new one",
    }
}

fn done(ailment: &Ailment) -> &'static str {
    match ailment {
        Ailment::OrphanedCheckpoint { .. } => "removed",
        _ => "it has a new one",
    }
}

/// Definitions that no engine runs, with what waits for one. Nothing here can start an engine.
async fn without_engine(client: &Client, workflows: &Workflows) -> Result<Vec<Finding>, Failure> {
    let instances = presence::records(client).await?;
    let hosted = |name: &str| {
        let mut definitions = instances.iter().flat_map(|instance| &instance.definitions);
        definitions.any(|definition| definition["name"] == name)
    };
    let mut names: Vec<String> = Vec::new();
    names.extend(
        workflows
            .definitions()
            .await?
            .into_iter()
            .map(|shape| shape.name.to_string()),
    );
    names.dedup();
    names.retain(|name| !hosted(name));
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let active = [
        WorkflowStatus::Running,
        WorkflowStatus::Waiting,
        WorkflowStatus::Parked,
    ];
    let active = active
        .into_iter()
        .fold(WorkflowFilter::default(), WorkflowFilter::status);
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    for record in workflows.list_workflows(&active).await? {
        *waiting.entry(record.definition.to_string()).or_default() += 1;
    }
    let finding = |name: &String| {
        let count = waiting.get(name).copied().unwrap_or_default();
        let text = match count {
            0 => "no engine runs it, and no workflow waits for one".to_owned(),
            1 => "no engine runs it, and 1 workflow waits for one".to_owned(),
            count => format!("no engine runs it, and {count} workflows wait for one"),
        };
        let subject = format!("definition {name}");
        let remedy = match name == SCHEDULES {
            true => "start an agent with `Agent::schedules`, or `mcpctl workflow schedule run`",
            false => "start the agent that brings it",
        };
        match count {
            0 => Finding::ok(subject, text),
            _ => Finding::warn(subject, text).remedy(remedy),
        }
    };
    Ok(names.iter().map(finding).collect())
}
