//! What was sent, in words that tests compare.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs},
    metrics::v1::{ResourceMetrics, metric::Data, number_data_point},
    trace::v1::{ResourceSpans, Span, status::StatusCode},
};

/// A span as it was exported.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenSpan {
    /// The `service.name` of its process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// `INTERNAL`, `PRODUCER`, `CONSUMER` or `CLIENT`.
    pub kind: String,
    /// In hexadecimal.
    pub trace: String,
    /// In hexadecimal.
    pub id: String,
    /// In hexadecimal; empty for a root.
    pub parent: String,
    /// The span ids of its links.
    pub links: Vec<String>,
    /// All attributes, their values as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
}

/// A figure with one set of labels, as it was exported.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenMetric {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// The value; of a histogram how many values there were.
    pub value: f64,
    /// The upper bounds of a histogram.
    pub bounds: Vec<f64>,
}

/// A log line as it was exported.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenLine {
    /// The `service.name` of its process.
    pub service: String,
    /// Its text, which is constant.
    pub text: String,
    /// `INFO`, `WARN`, `ERROR` or one below.
    pub level: String,
    /// In hexadecimal; empty outside of a trace.
    pub trace: String,
    /// In hexadecimal; empty outside of a span.
    pub span: String,
    /// All fields, their values as text.
    pub fields: BTreeMap<String, String>,
}

pub(super) fn lines(batch: &ResourceLogs) -> Vec<SeenLine> {
    let resource = batch.resource.iter().flat_map(|all| &all.attributes);
    let service = texts(resource).remove("service.name").unwrap_or_default();
    let records = batch.scope_logs.iter().flat_map(|scope| &scope.log_records);
    let seen = |record: &LogRecord| SeenLine {
        service: service.clone(),
        text: text(record.body.as_ref()),
        level: record.severity_text.clone(),
        trace: hex(&record.trace_id),
        span: hex(&record.span_id),
        fields: texts(record.attributes.iter()),
    };
    records.map(seen).collect()
}

pub(super) fn spans(batch: &ResourceSpans) -> Vec<SeenSpan> {
    let resource = batch.resource.iter().flat_map(|all| &all.attributes);
    let service = texts(resource).remove("service.name").unwrap_or_default();
    let spans = batch.scope_spans.iter().flat_map(|scope| &scope.spans);
    spans.map(|span| seen(&service, span)).collect()
}

fn seen(service: &str, span: &Span) -> SeenSpan {
    let kind = span.kind().as_str_name();
    SeenSpan {
        service: service.to_owned(),
        name: span.name.clone(),
        kind: kind.trim_start_matches("SPAN_KIND_").to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        attributes: texts(span.attributes.iter()),
        failed: span
            .status
            .as_ref()
            .is_some_and(|status| status.code() == StatusCode::Error),
    }
}

pub(super) fn metrics(batch: &ResourceMetrics) -> Vec<SeenMetric> {
    let metrics = batch.scope_metrics.iter().flat_map(|scope| &scope.metrics);
    let mut all = Vec::new();
    for metric in metrics {
        let mut keep = |labels: &[KeyValue], value: f64, bounds: &[f64]| {
            all.push(SeenMetric {
                name: metric.name.clone(),
                unit: metric.unit.clone(),
                labels: texts(labels.iter()),
                value,
                bounds: bounds.to_vec(),
            });
        };
        match &metric.data {
            Some(Data::Gauge(gauge)) => {
                for point in &gauge.data_points {
                    keep(&point.attributes, number(point.value), &[]);
                }
            }
            Some(Data::Sum(sum)) => {
                for point in &sum.data_points {
                    keep(&point.attributes, number(point.value), &[]);
                }
            }
            Some(Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    keep(
                        &point.attributes,
                        point.count as f64,
                        &point.explicit_bounds,
                    );
                }
            }
            _ => {}
        }
    }
    all
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => 0.0,
    }
}

fn texts<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    attributes
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
