//! What was found out: facts with their times, and what they are about.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::jaeger::Span;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Fact {
    /// Unix milliseconds, by the server's clock where it stored something; `None`: it is so now.
    pub(super) at: Option<u64>,
    pub(super) agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<String>,
    pub(super) what: String,
    /// How long it took, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) took_ms: Option<f64>,
    /// Where it stands.
    pub(super) source: &'static str,
}

/// Everything that is known of one id.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) id: String,
    /// `command`, `workflow`, `event` or `trace`, when something says so.
    pub(super) kind: Option<&'static str>,
    /// `writer.draft`, or the definition of a workflow.
    pub(super) of: Option<String>,
    pub(super) state: Option<String>,
    pub(super) conversation: Option<String>,
    pub(super) cause: Option<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) trace_ids: BTreeSet<String>,
    pub(super) spans: Vec<Span>,
    /// What could not be asked.
    pub(super) trouble: Option<String>,
}

impl Known {
    /// Nothing but the id. One of 32 hexadecimal digits is a trace's.
    pub(super) fn of(id: &str) -> Self {
        let is_trace = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut known = Self {
            id: id.to_owned(),
            ..Self::default()
        };
        if is_trace {
            known.kind = Some("trace");
            known.trace_ids.insert(id.to_ascii_lowercase());
        }
        known
    }

    /// When the id was made, if it says so: message ids begin with the sender's time.
    pub(super) fn made_at(&self) -> Option<u64> {
        let hexadecimal: String = self.id.chars().filter(|c| *c != '-').collect();
        let is_message = self.id.len() == 36 && hexadecimal.as_bytes().get(12) == Some(&b'7');
        let time = hexadecimal.get(..12).filter(|_| is_message)?;
        u64::from_str_radix(time, 16).ok()
    }

    /// The time from which on something may have happened.
    pub(super) fn since(&self) -> Option<u64> {
        let facts = self.facts.iter().filter_map(|fact| fact.at);
        facts.chain(self.made_at()).min()
    }

    /// Takes note of the trace that a `traceparent` names.
    pub(super) fn traced(&mut self, traceparent: Option<&str>) {
        let id = traceparent.and_then(|text| text.split('-').nth(1));
        let id = id.filter(|id| id.len() == 32 && id.bytes().any(|byte| byte != b'0'));
        self.trace_ids.extend(id.map(str::to_owned));
    }

    /// Takes note of something that could not be asked.
    pub(super) fn troubled(&mut self, trouble: String) {
        self.trouble = Some(match self.trouble.take() {
            Some(before) => format!("{before}; {trouble}"),
            None => trouble,
        });
    }

    pub(super) fn in_order(&mut self) {
        // What is so now comes last.
        self.facts.sort_by_key(|fact| fact.at.unwrap_or(u64::MAX));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.spans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_what_they_are() {
        let message = Known::of("0195f3a2-7c1e-7d30-9a1b-2f4d6c8e0a12");
        assert_eq!(message.made_at(), Some(0x0195_f3a2_7c1e));
        assert_eq!(message.kind, None);
        assert_eq!(
            Known::of("0195f3a2-7c1e-4d30-9a1b-2f4d6c8e0a12").made_at(),
            None
        );
        assert_eq!(Known::of("order-17").made_at(), None);
        let trace = Known::of("0AF7651916CD43DD8448EB211C80319C");
        assert_eq!(trace.kind, Some("trace"));
        assert!(trace.trace_ids.contains("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn traces_come_from_their_headers() {
        let mut known = Known::of("x");
        known.traced(Some(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ));
        known.traced(Some(
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ));
        known.traced(Some("nonsense"));
        known.traced(None);
        assert_eq!(known.trace_ids.len(), 1);
    }
}
