//! The figures as Prometheus reads them: names, units and labels are translated by the rules of both projects.

use std::{
    fmt::{self, Display, Write},
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality,
        data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics},
        reader::MetricReader,
    },
};

/// The figures of this process, read when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    reader: ManualReader,
}

impl Figures {
    /// All of them in the text format, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        let mut collected = ResourceMetrics::default();
        let mut text = String::new();
        // After the shutdown there are none any more.
        if self.reader.collect(&mut collected).is_ok() {
            let about = labels(collected.resource().iter().map(|(k, v)| (k.as_str(), v)));
            let _ = writeln!(text, "# TYPE target_info gauge\ntarget_info{about} 1");
            for scope in collected.scope_metrics() {
                scope.metrics().for_each(|metric| family(&mut text, metric));
            }
        }
        text
    }
}

/// The figures as one of the readers of a meter provider.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Arc<Figures>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.reader.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.reader.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.reader.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.reader.temporality(kind)
    }
}

fn family(text: &mut String, metric: &Metric) {
    match metric.data() {
        AggregatedMetrics::F64(data) => typed(text, metric, data),
        AggregatedMetrics::U64(data) => typed(text, metric, data),
        AggregatedMetrics::I64(data) => typed(text, metric, data),
    }
}

fn typed<T: Copy + Display>(text: &mut String, metric: &Metric, data: &MetricData<T>) {
    // Writing into a string cannot fail.
    let _ = match data {
        MetricData::Gauge(gauge) => {
            let name = name(metric, "");
            let points = gauge
                .data_points()
                .map(|point| (point.attributes(), point.value()));
            single(text, metric, &name, "gauge", points)
        }
        MetricData::Sum(sum) if sum.is_monotonic() => {
            let name = name(metric, "_total");
            let points = sum
                .data_points()
                .map(|point| (point.attributes(), point.value()));
            single(text, metric, &name, "counter", points)
        }
        MetricData::Sum(sum) => {
            let name = name(metric, "");
            let points = sum
                .data_points()
                .map(|point| (point.attributes(), point.value()));
            single(text, metric, &name, "gauge", points)
        }
        MetricData::Histogram(histogram) => {
            let name = name(metric, "");
            let mut written = head(text, metric, &name, "histogram");
            for point in histogram.data_points() {
                let labels = pairs(point.attributes());
                let mut below = 0;
                let bounds = point.bounds().map(|bound| bound.to_string());
                for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(point.bucket_counts()) {
                    below += count;
                    let comma = if labels.is_empty() { "" } else { "," };
                    written = written.and(writeln!(
                        text,
                        "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"
                    ));
                }
                let braced = braced(&labels);
                written = written
                    .and(writeln!(text, "{name}_sum{braced} {}", point.sum()))
                    .and(writeln!(text, "{name}_count{braced} {}", point.count()));
            }
            written
        }
        // We have none.
        MetricData::ExponentialHistogram(_) => Ok(()),
    };
}

fn single<'a, T: Display>(
    text: &mut String,
    metric: &Metric,
    name: &str,
    kind: &str,
    points: impl Iterator<Item = (impl Iterator<Item = &'a KeyValue>, T)>,
) -> fmt::Result {
    head(text, metric, name, kind)?;
    for (attributes, value) in points {
        writeln!(text, "{name}{} {value}", braced(&pairs(attributes)))?;
    }
    Ok(())
}

fn head(text: &mut String, metric: &Metric, name: &str, kind: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {}", metric.description())?;
    writeln!(text, "# TYPE {name} {kind}")
}

/// Dots become underscores; the unit is part of the name, except for what is only a word in braces.
fn name(metric: &Metric, suffix: &str) -> String {
    let unit = match metric.unit() {
        "s" => "_seconds",
        "By" => "_bytes",
        "1" => "_ratio",
        unit if unit.ends_with("/s") => "_per_second",
        _ => "",
    };
    let mut name = underscored(metric.name());
    if !name.ends_with(unit) {
        name.push_str(unit);
    }
    name + suffix
}

fn underscored(text: &str) -> String {
    let allowed = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    text.chars().map(allowed).collect()
}

fn pairs<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    joined(attributes.map(|pair| (pair.key.as_str(), &pair.value)))
}

fn labels<'a, V: Display + 'a>(all: impl Iterator<Item = (&'a str, V)>) -> String {
    braced(&joined(all))
}

fn joined<'a, V: Display + 'a>(all: impl Iterator<Item = (&'a str, V)>) -> String {
    let pair = |(key, value): (&str, V)| {
        let value = value.to_string();
        let value = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n");
        format!("{}=\"{value}\"", underscored(key))
    };
    all.map(pair).collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};

    use super::*;

    #[test]
    fn figures_are_written_by_the_rules_of_the_text_format() {
        let figures = Arc::new(Figures::default());
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().with_service_name("test").build())
            .with_reader(Reader(Arc::clone(&figures)))
            .build();
        let meter = provider.meter("test");
        let label = [KeyValue::new("agent.name", "a\"b\\c\nd")];
        let counter = meter.u64_counter("demo.messages").with_unit("{message}");
        counter.with_description("Messages").build().add(3, &label);
        let histogram = meter.f64_histogram("demo.duration").with_unit("s");
        let histogram = histogram.with_boundaries(vec![0.5, 2.0]).build();
        [0.25, 1.0, 9.0]
            .iter()
            .for_each(|s| histogram.record(*s, &[]));
        let gauge = meter.f64_gauge("demo.part").with_unit("1").build();
        gauge.record(0.5, &[]);
        let text = figures.text();
        for line in [
            r#"target_info{service_name="test"} 1"#,
            "# HELP demo_messages_total Messages",
            "# TYPE demo_messages_total counter",
            r#"demo_messages_total{agent_name="a\"b\\c\nd"} 3"#,
            "# TYPE demo_duration_seconds histogram",
            r#"demo_duration_seconds_bucket{le="0.5"} 1"#,
            r#"demo_duration_seconds_bucket{le="2"} 2"#,
            r#"demo_duration_seconds_bucket{le="+Inf"} 3"#,
            "demo_duration_seconds_sum 10.25",
            "demo_duration_seconds_count 3",
            "demo_part_ratio 0.5",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in:\n{text}"
            );
        }
        provider.shutdown().unwrap();
        assert_eq!(figures.text(), "");
    }
}
