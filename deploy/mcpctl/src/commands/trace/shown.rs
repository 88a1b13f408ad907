//! The answer, for people and as a document.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::known::{Fact, Known};
use crate::{
    jaeger::{Jaeger, Span},
    output::{self, Cell, Table, Tone, age, paint, utc},
};

/// Spans that are listed; of more, Jaeger's own page is the better place.
const MOST_SPANS: usize = 300;

pub(super) fn show(known: &Known, jaeger: Option<&Jaeger>, as_json: bool) {
    if as_json {
        output::json(&document(known, jaeger));
        return;
    }
    output::line(head(known, jaeger).join("\n"));
    if !known.facts.is_empty() {
        output::line(format!("\n{}", facts(&known.facts).render()));
    }
    if !known.spans.is_empty() {
        output::line(format!("\n{}", spans(&known.spans).render()));
        let hidden = known.spans.len().saturating_sub(MOST_SPANS);
        if hidden > 0 {
            output::note(format!("{hidden} spans more: see Jaeger's page"));
        }
    }
    if let Some(trouble) = &known.trouble {
        output::note(trouble);
    }
}

fn head(known: &Known, jaeger: Option<&Jaeger>) -> Vec<String> {
    let kind = known.kind.unwrap_or("message");
    let mut lines = vec![format!("{kind:<12}  {}", paint(Tone::Strong, &known.id))];
    let mut told = |name: &str, value: &Option<String>| {
        lines.extend(value.as_ref().map(|value| format!("{name:<12}  {value}")));
    };
    told("of", &known.of);
    told("state", &known.state);
    told("conversation", &known.conversation);
    told("caused by", &known.cause);
    for trace in &known.trace_ids {
        let page = jaeger.map(|jaeger| jaeger.page(trace));
        told("trace", &Some(page.unwrap_or_else(|| trace.clone())));
    }
    lines
}

/// A line for each fact: when, how long after the first, who, what.
fn facts(facts: &[Fact]) -> Table {
    let mut table = Table::new(&["when", "after", "who", "what", "took", "known from"]);
    let first = facts.iter().find_map(|fact| fact.at);
    for fact in facts {
        let after = fact
            .at
            .zip(first)
            .map(|(at, first)| at.saturating_sub(first));
        table.row([
            fact.at.map_or_else(|| "now".to_owned(), utc).into(),
            after
                .map(|ms| age(Duration::from_millis(ms)))
                .unwrap_or_default()
                .into(),
            Cell::toned(Tone::Strong, who(&fact.agent, fact.instance.as_deref())),
            fact.what.as_str().into(),
            fact.took_ms.map(milliseconds).unwrap_or_default().into(),
            Cell::toned(Tone::Quiet, fact.source),
        ]);
    }
    table
}

fn who(agent: &str, instance: Option<&str>) -> String {
    match instance {
        Some(instance) => format!("{agent} ({instance})"),
        None => agent.to_owned(),
    }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms => age(Duration::from_secs_f64((ms / 1_000.0).clamp(0.0, 1e12))),
    }
}

/// A line for each span, below its parent.
fn spans(spans: &[Span]) -> Table {
    let mut table = Table::new(&["start", "took", "who", "span"]);
    let ordered = in_order(spans);
    let first = ordered
        .iter()
        .map(|(_, span)| span.start_us)
        .min()
        .unwrap_or_default();
    for (depth, span) in ordered.into_iter().take(MOST_SPANS) {
        let name = format!("{}{}", "  ".repeat(depth), span.name);
        table.row([
            format!(
                "+{}",
                milliseconds((span.start_us - first) as f64 / 1_000.0)
            )
            .into(),
            milliseconds(span.took_us as f64 / 1_000.0).into(),
            who(&span.service, span.instance.as_deref()).into(),
            match &span.error {
                Some(error) => Cell::toned(Tone::Bad, format!("{name}: {error}")),
                None => name.into(),
            },
        ]);
    }
    table
}

/// Depth first, each level by its start. Those whose parent is not there begin a tree of their own.
fn in_order(spans: &[Span]) -> Vec<(usize, &Span)> {
    let known: HashMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let mut children: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
    for span in known.values() {
        let parent = span
            .parent
            .as_deref()
            .filter(|parent| known.contains_key(parent));
        children.entry(parent).or_default().push(span);
    }
    for level in children.values_mut() {
        // The last is taken first.
        level.sort_by(|a, b| (b.start_us, &b.id).cmp(&(a.start_us, &a.id)));
    }
    let mut ordered = Vec::with_capacity(known.len());
    let mut open: Vec<(usize, &Span)> = Vec::new();
    let roots = children.remove(&None).unwrap_or_default();
    open.extend(roots.into_iter().map(|span| (0, span)));
    while let Some((depth, span)) = open.pop() {
        ordered.push((depth, span));
        // Each is taken once, also where spans claim to be each other's parents.
        let below = children.remove(&Some(span.id.as_str())).unwrap_or_default();
        open.extend(below.into_iter().map(|span| (depth + 1, span)));
    }
    ordered
}

fn document(known: &Known, jaeger: Option<&Jaeger>) -> Value {
    let span = |(depth, span): (usize, &Span)| {
        json!({
            "trace": span.trace, "id": span.id, "parent": span.parent, "depth": depth, "agent": span.service,
            "instance": span.instance, "name": span.name, "start_us": span.start_us, "took_us": span.took_us,
            "error": span.error,
        })
    };
    let pages = known.trace_ids.iter();
    let pages: Option<Vec<String>> =
        jaeger.map(|jaeger| pages.map(|trace| jaeger.page(trace)).collect());
    json!({
        "id": known.id,
        "kind": known.kind,
        "of": known.of,
        "state": known.state,
        "conversation_id": known.conversation,
        "causation_id": known.cause,
        "traces": known.trace_ids,
        "pages": pages,
        "facts": known.facts,
        "spans": in_order(&known.spans).into_iter().map(span).collect::<Vec<_>>(),
        "trouble": known.trouble,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, start_us: u64) -> Span {
        Span {
            trace: "t".to_owned(),
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            service: "writer".to_owned(),
            instance: Some("w1".to_owned()),
            name: format!("span {id}"),
            start_us,
            took_us: 1_500,
            error: (id == "c").then(|| "GPU_BUSY".to_owned()),
        }
    }

    #[test]
    fn spans_stand_below_their_parents() {
        let all = [
            span("d", Some("lost"), 40),
            span("c", Some("b"), 30),
            span("b2", Some("a"), 25),
            span("b", Some("a"), 20),
            span("a", None, 10),
        ];
        let text = spans(&all).render();
        let names: Vec<&str> = text
            .lines()
            .skip(1)
            .map(|line| &line[line.find("writer").unwrap() + 13..])
            .collect();
        assert_eq!(
            names,
            [
                "span a",
                "  span b",
                "    span c: GPU_BUSY",
                "  span b2",
                "span d"
            ],
            "{text}"
        );
        let circle = [span("x", Some("y"), 1), span("y", Some("x"), 2)];
        assert!(in_order(&circle).is_empty(), "no end to wait for");
    }

    #[test]
    fn facts_say_who_when_and_how_long() {
        let fact = |at: Option<u64>, instance: Option<&str>, took_ms: Option<f64>| Fact {
            at,
            agent: "writer".to_owned(),
            instance: instance.map(str::to_owned),
            what: "done".to_owned(),
            took_ms,
            source: "outcome",
        };
        let all = [
            fact(Some(1_000), None, None),
            fact(Some(3_500), Some("w1"), Some(812.0)),
            fact(None, None, None),
        ];
        let text = facts(&all).render();
        let line = text.lines().nth(2).unwrap();
        for part in [
            "1970-01-01 00:00:03.500Z",
            "2s",
            "writer (w1)",
            "812ms",
            "outcome",
        ] {
            assert!(line.contains(part), "{part}: {text}");
        }
        assert!(text.lines().last().unwrap().starts_with("now"), "{text}");
    }
}
