//! As much of PromQL as it takes to find names and labels in it; promtool checks the rest (`check-observability.sh`).

use std::collections::{BTreeMap, BTreeSet};

/// Words between expressions; functions are followed by a parenthesis.
const WORDS: [&str; 8] = [
    "and",
    "bool",
    "by",
    "group_left",
    "offset",
    "on",
    "or",
    "unless",
];

/// Labels that Prometheus itself adds to what it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// What is exported: samples by name, each with the labels that some of its series have.
#[derive(Debug, Default)]
pub(super) struct Exported(BTreeMap<String, BTreeSet<String>>);

impl Exported {
    /// Takes a scrape in.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let labels = line.split_once('{').map_or("", |(_, rest)| rest);
            let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
            let known = self.0.entry(name.to_owned()).or_default();
            // Values hold no quotes here, so that every other part is outside of them.
            for outside in labels.split('"').step_by(2) {
                let key = outside.trim_matches([',', '=', ' ']);
                known.extend((!key.is_empty()).then(|| key.to_owned()));
            }
        }
    }

    /// Whether a figure with this name (as a collector has it) is there.
    pub(super) fn has_family(&self, name: &str) -> bool {
        let name = name.replace('.', "_");
        self.0.keys().any(|known| known.starts_with(&name))
    }
}

/// A query, and what is shown of its answer.
pub(super) struct Query {
    text: String,
    shown: String,
    /// The rules whose names it may use, with the labels that they leave.
    recorded: BTreeMap<String, BTreeSet<String>>,
}

/// What a query names.
#[derive(Debug, Default)]
struct Named {
    /// Metrics, each with the labels that it is selected by.
    metrics: Vec<(String, Vec<String>)>,
    /// Labels that answers are grouped by.
    by: Vec<String>,
}

impl Query {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            shown: String::new(),
            recorded: BTreeMap::new(),
        }
    }

    /// The text in which its labels are shown, as `{{label}}` or `$labels.label`.
    pub(super) fn showing(mut self, text: &str) -> Self {
        text.clone_into(&mut self.shown);
        self
    }

    /// The rules whose names it may use.
    pub(super) fn knowing(mut self, rules_file: &str) -> Self {
        let leaves = |rule: &Rule| {
            named(&rule.expression)
                .map(|all| all.by)
                .unwrap_or_default()
        };
        let rules = rules(rules_file).into_iter();
        self.recorded = rules
            .map(|rule| (rule.name.clone(), leaves(&rule).into_iter().collect()))
            .collect();
        self
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// # Errors
    /// The first thing that is not exported.
    pub(super) fn check(&self, exported: &Exported) -> Result<(), String> {
        let named = named(&self.text)?;
        if named.metrics.is_empty() {
            return Err("it asks for nothing".to_owned());
        }
        let mut labels = BTreeSet::new();
        for (metric, selected) in &named.metrics {
            let has = exported.0.get(metric).or_else(|| self.recorded.get(metric));
            let has = has.ok_or_else(|| format!("{metric} is not exported"))?;
            for label in selected.iter().chain(&named.by) {
                if !has.contains(label) {
                    return Err(format!("{metric} has no label {label}"));
                }
            }
            labels.extend(has.iter().cloned());
        }
        for label in shown(&self.shown) {
            let kept = named.by.is_empty() || named.by.contains(&label);
            let known = labels.contains(&label) || SCRAPED.contains(&label.as_str());
            if !kept || !known {
                return Err(format!("{label} is shown and not in the answer"));
            }
        }
        Ok(())
    }
}

/// A rule of a rules file.
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) expression: String,
    pub(super) annotations: String,
}

/// The rules of a file that is laid out as ours is: one key a line, blocks indented deeper than their key.
pub(super) fn rules(file: &str) -> Vec<Rule> {
    let mut all = Vec::<Rule>::new();
    let mut block = None;
    for line in file.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if block.is_some_and(|of| indent <= of) {
            block = None;
        }
        let named = text
            .strip_prefix("- record: ")
            .or(text.strip_prefix("- alert: "));
        if let Some(name) = named {
            all.push(Rule {
                name: name.to_owned(),
                expression: String::new(),
                annotations: String::new(),
            });
        } else if let Some(rule) = all.last_mut() {
            if block.is_some() {
                rule.expression.push_str(text);
                rule.expression.push(' ');
            } else if let Some(expression) = text.strip_prefix("expr: ") {
                match expression {
                    "|" => block = Some(indent),
                    expression => expression.clone_into(&mut rule.expression),
                }
            } else if text.starts_with("summary: ") || text.starts_with("remedy: ") {
                rule.annotations.push_str(text);
            }
        }
    }
    all
}

fn shown(text: &str) -> BTreeSet<String> {
    let inside = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"));
    let labels = inside.map(|(inside, _)| inside.trim());
    let labels = labels.filter(|inside| !inside.starts_with("$value"));
    labels
        .map(|label| label.trim_start_matches("$labels.").to_owned())
        .collect()
}

fn named(query: &str) -> Result<Named, String> {
    let mut named = Named::default();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (_, after) = rest[1..].split_once('"').ok_or("a text without an end")?;
            rest = after;
        } else if is_name(first) && !first.is_ascii_digit() {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if word == "by" || word == "on" {
                let (list, after) = parenthesis(rest, '(', ')')?;
                named
                    .by
                    .extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if !WORDS.contains(&word) && !is_call(rest) {
                let mut selected = Vec::new();
                if rest.starts_with('{') {
                    let (list, after) = parenthesis(rest, '{', '}')?;
                    // Values hold no commas.
                    let pairs = list.split(',').map(str::trim);
                    let keys = pairs.filter_map(|pair| pair.split(['=', '!']).next());
                    selected = keys.map(|key| key.trim().to_owned()).collect();
                    rest = after;
                }
                named.metrics.push((word.to_owned(), selected));
            }
        } else {
            // Operators, numbers, durations with or without brackets, and Grafana's variables in them.
            let end = match first {
                '[' => rest.find(']').map(|at| at + 1),
                first if first.is_ascii_digit() => rest.find(|c: char| !is_name(c) && c != '.'),
                first => Some(first.len_utf8()),
            };
            rest = &rest[end.unwrap_or(rest.len())..];
        }
        rest = rest.trim_start();
    }
    Ok(named)
}

/// What follows a function, or an aggregation with its labels in front.
fn is_call(after: &str) -> bool {
    ["(", "by (", "by("]
        .iter()
        .any(|call| after.starts_with(call))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn parenthesis(text: &str, open: char, close: char) -> Result<(&str, &str), String> {
    let inside = text.strip_prefix(open).ok_or("no list")?;
    Ok(inside.split_once(close).ok_or("a list without an end")?)
}

#[test]
fn what_is_not_exported_is_found() {
    let mut exported = Exported::default();
    exported.add("# TYPE a counter\nx_total{agent=\"w\",outcome=\"a b\"} 3\nx_bucket{agent=\"w\",le=\"1\"} 1\n");
    let check = |query: &str, shown: &str, expected: Result<(), &str>| {
        let found = Query::new(query).showing(shown).check(&exported);
        assert_eq!(found, expected.map_err(str::to_owned), "{query}");
    };
    let sum = r#"sum by (agent) (rate(x_total{outcome=~"a|b", agent!="$agent"}[5m])) / 2.5 > 0"#;
    check(sum, "{{agent}}", Ok(()));
    check(
        "x_total unless x_total offset 10m",
        "$labels {{ $labels.outcome }}",
        Ok(()),
    );
    check(
        "histogram_quantile(0.9, sum by (le) (x_bucket))",
        "",
        Ok(()),
    );
    check("sum(y_total)", "", Err("y_total is not exported"));
    check(r#"x_total{lane="a"}"#, "", Err("x_total has no label lane"));
    check(
        "sum by (lane) (x_total)",
        "",
        Err("x_total has no label lane"),
    );
    check(
        sum,
        "{{outcome}}",
        Err("outcome is shown and not in the answer"),
    );
    check("vector(0)", "", Err("it asks for nothing"));
}
