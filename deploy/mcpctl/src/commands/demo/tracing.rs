//! The video's trace: where a Jaeger runs, everybody exports to it, and the demo ends with a link.

use std::{env, time::Duration};

use mcp_agent_sdk::WorkflowRecord;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{jaeger::Jaeger, output};

/// Where `make jaeger` shows its page.
const USUAL: &str = "http://127.0.0.1:16686";

/// How long the last spans may take from an agent that has ended to an answer of Jaeger.
const ARRIVAL: Duration = Duration::from_secs(5);

/// What says in the environment where traces go. Then it is not ours to decide.
const DECIDED: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_SDK_DISABLED",
];

/// A trace that Jaeger has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    /// Its page.
    pub(super) url: String,
    pub(super) spans: usize,
    /// How many services have sent them.
    pub(super) services: usize,
}

/// The Jaeger that answers: the one that was named, or the usual one.
pub(super) async fn find(named: Option<&Jaeger>) -> Option<Jaeger> {
    let jaeger = match named {
        Some(named) => named.clone(),
        None => Jaeger::parse(USUAL).ok()?,
    };
    match jaeger.services().await {
        Ok(_) => Some(jaeger),
        Err(reason) => {
            if named.is_some() {
                let page = jaeger.page("");
                let page = page.trim_end_matches("/trace/");
                output::note(format!(
                    "no Jaeger answers at {page} ({reason}); there will be no link to a trace"
                ));
            }
            None
        }
    }
}

/// What the agents' environment needs beside what it has, so that their traces, and nothing else, go to this Jaeger.
pub(super) fn variables(jaeger: Option<&Jaeger>) -> Vec<(&'static str, String)> {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    match jaeger {
        Some(jaeger) if !DECIDED.iter().any(is_set) => vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
            // Jaeger stores traces only.
            ("OTEL_METRICS_EXPORTER", "none".to_owned()),
            ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ],
        _ => Vec::new(),
    }
}

/// The id of the trace that a workflow belongs to.
pub(super) fn id_of(record: &WorkflowRecord) -> Option<String> {
    let traceparent = record.traceparent.as_deref()?;
    traceparent.split('-').nth(1).map(str::to_owned)
}

/// The link to a trace, once Jaeger has the workflow's last span: no link is better than one that leads nowhere.
pub(super) async fn link(jaeger: &Jaeger, id: &str) -> Option<Link> {
    let give_up = Instant::now() + ARRIVAL;
    loop {
        let spans = jaeger.trace(id).await.unwrap_or_default();
        let is_whole = spans
            .iter()
            .any(|span| span.name.starts_with("run workflow"));
        if is_whole || (Instant::now() > give_up && !spans.is_empty()) {
            let mut services: Vec<&str> = spans.iter().map(|span| span.service.as_str()).collect();
            services.sort_unstable();
            services.dedup();
            return Some(Link {
                url: jaeger.page(id),
                spans: spans.len(),
                services: services.len(),
            });
        }
        if Instant::now() > give_up {
            return None;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
