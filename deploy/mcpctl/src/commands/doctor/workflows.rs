//! Workflows that nothing brings on any more, checkpoints of none, definitions that nobody runs; and what helps.

use std::{collections::BTreeMap, time::Duration};

use mcp_agent_sdk::{
    Ailment, Client, Hosted, SCHEDULES, WorkflowFilter, WorkflowStatus, Workflows,
};

use super::finding::Finding;
use crate::failure::Failure;

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
        Ailment::Abandoned(ailing) | Ailment::Overslept(ailing) | Ailment::Stranded(ailing) => {
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
        Ailment::Stranded(ailing) => {
            format!(
                "is parked in `{}`, but an engine with its version is there",
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
        Ailment::Stranded(_) => "wakes it",
        _ => "gives it a new one",
    }
}

fn done(ailment: &Ailment) -> &'static str {
    match ailment {
        Ailment::OrphanedCheckpoint { .. } => "removed",
        Ailment::Stranded(_) => "woken",
        _ => "it has a new one",
    }
}

/// Definitions, and versions of them that workflows are on, that no engine runs. Nothing here can start an engine.
async fn without_engine(client: &Client, workflows: &Workflows) -> Result<Vec<Finding>, Failure> {
    let hosted = Hosted::now(client).await?;
    let mut waiting: BTreeMap<(String, String), usize> = BTreeMap::new();
    for shape in workflows.definitions().await? {
        if !hosted.has_any(shape.name.as_str()) {
            let key = (shape.name.to_string(), shape.version.clone());
            waiting.entry(key).or_default();
        }
    }
    let active = [
        WorkflowStatus::Running,
        WorkflowStatus::Waiting,
        WorkflowStatus::Parked,
    ];
    let active = active
        .into_iter()
        .fold(WorkflowFilter::default(), WorkflowFilter::status);
    for record in workflows.list_workflows(&active).await? {
        if !hosted.has(record.definition.as_str(), &record.version) {
            let key = (record.definition.to_string(), record.version);
            *waiting.entry(key).or_default() += 1;
        }
    }
    let finding = |((name, version), count): (&(String, String), &usize)| {
        let text = match count {
            0 => "no engine runs it, and no workflow waits for one".to_owned(),
            1 => "no engine runs it, and 1 workflow waits for one".to_owned(),
            count => format!("no engine runs it, and {count} workflows wait for one"),
        };
        let subject = format!("definition {name} {version}");
        let remedy = match (name == SCHEDULES, hosted.has_any(name)) {
            (true, _) => {
                "start an agent with `Agent::schedules`, or `mcpctl workflow schedule run`"
            }
            (false, false) => "start the agent that brings it",
            (false, true) => {
                "start an agent that brings this version, or move them on with `mcpctl workflow migrate`"
            }
        };
        match count {
            0 => Finding::ok(subject, text),
            _ => Finding::warn(subject, text).remedy(remedy),
        }
    };
    Ok(waiting.iter().map(finding).collect())
}
