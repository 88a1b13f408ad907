//! What the record of a workflow and its checkpoints tell.

use mcp_agent_sdk::{Client, WorkflowRecord, Workflows, runtime::Token};

use super::known::{Fact, Known};
use crate::failure::Failure;

const SOURCE: &str = "record";

/// Looks for a workflow of this id. What cannot be the id of one is none.
pub(super) async fn gather(client: &Client, id: &str, known: &mut Known) -> Result<(), Failure> {
    if Token::new(id).is_err() {
        return Ok(());
    }
    let workflows = Workflows::new(client);
    let Some(record) = workflows.get_workflow(id).await? else {
        return Ok(());
    };
    known.kind = Some("workflow");
    known.of = Some(format!("{}, version {}", record.definition, record.version));
    known.state = Some(format!("{}, in {}", record.status, record.state));
    known.conversation.clone_from(&record.conversation_id);
    known.cause = record.parent.as_ref().map(ToString::to_string);
    known.traced(record.traceparent.as_deref());
    known.facts.extend(path(&record));
    for checkpoint in workflows.list_workflow_checkpoints(id).await? {
        known.facts.push(Fact {
            at: Some(checkpoint.created_at),
            ..fact(
                &record,
                format!("checkpoint {}", checkpoint.name),
                "checkpoint",
            )
        });
    }
    Ok(())
}

fn fact(record: &WorkflowRecord, what: String, source: &'static str) -> Fact {
    Fact {
        at: None,
        agent: record.definition.to_string(),
        instance: None,
        what,
        took_ms: None,
        source,
    }
}

/// The beginning, each change of state with the time in the state that was left, and how it stands.
fn path(record: &WorkflowRecord) -> Vec<Fact> {
    let mut facts = vec![Fact {
        at: Some(record.created_at),
        ..fact(record, "started".to_owned(), SOURCE)
    }];
    let mut since = Some(record.created_at);
    for entry in &record.history {
        let what = format!("{} -> {} by {}", entry.from, entry.to, entry.trigger);
        facts.push(Fact {
            at: Some(entry.at),
            took_ms: since.map(|since| entry.at.saturating_sub(since) as f64),
            ..fact(record, what, SOURCE)
        });
        since = Some(entry.at);
    }
    let error = record.error.as_ref();
    let error = error.map_or_else(String::new, |error| format!(": {}", error.code));
    let now = format!("{} in {}{error}", record.status, record.state);
    facts.push(Fact {
        at: record.is_ended().then_some(record.updated_at),
        ..fact(record, now, SOURCE)
    });
    facts
}
