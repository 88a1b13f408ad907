//! What Jaeger has of it.

use super::known::Known;
use crate::jaeger::Jaeger;

/// Services that are asked for a message when nothing told its trace.
const MOST_SERVICES: usize = 64;

/// Traces that are shown: one, or one and what it is linked to.
const MOST_TRACES: usize = 8;

/// Spans carry the id of the message, or of the workflow.
const ATTRIBUTES: [&str; 2] = ["messaging.message.id", "agentmsg.workflow.instance"];

/// A week: what Jaeger is asked for when nothing tells a time.
const LOOK_BACK_MS: u64 = 7 * 24 * 3_600_000;

/// Clocks of senders and agents differ.
const SLACK_MS: u64 = 60_000;

/// Adds the spans. That Jaeger cannot be asked is no failure of the rest.
pub(super) async fn gather(jaeger: &Jaeger, id: &str, known: &mut Known) {
    if let Err(reason) = try_to(jaeger, id, known).await {
        known.troubled(format!("Jaeger could not be asked: {reason}"));
    }
}

async fn try_to(jaeger: &Jaeger, id: &str, known: &mut Known) -> Result<(), String> {
    if known.trace_ids.is_empty() {
        search(jaeger, id, known).await?;
    }
    for trace in known.trace_ids.iter().take(MOST_TRACES) {
        known.spans.extend(jaeger.trace(trace).await?);
    }
    Ok(())
}

/// Asks every service for spans with this id.
async fn search(jaeger: &Jaeger, id: &str, known: &mut Known) -> Result<(), String> {
    let now = crate::commands::agents::now_ms();
    let from = known
        .since()
        .unwrap_or_else(|| now.saturating_sub(LOOK_BACK_MS));
    let from = from.saturating_sub(SLACK_MS);
    for service in jaeger.services().await?.iter().take(MOST_SERVICES) {
        for attribute in ATTRIBUTES {
            let found = jaeger.find(service, (attribute, id), from).await?;
            known.trace_ids.extend(found);
        }
        // One is enough: it is the same trace wherever the message went.
        if !known.trace_ids.is_empty() {
            break;
        }
    }
    Ok(())
}
