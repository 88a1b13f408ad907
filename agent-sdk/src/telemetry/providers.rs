//! The providers of the three signals, each with its exporter; what cannot be had is said, and the program goes on without.

use std::sync::Arc;
#[cfg(feature = "otlp")]
use std::time::Duration;

#[cfg(feature = "otlp")]
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor};
use opentelemetry_sdk::{
    Resource, logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider,
};

#[cfg(feature = "otlp")]
use super::sampler::{self, Decided};
use super::{Figures, prometheus};

/// How long a span waits for others to be sent with it. The specification says 5 s, and a process that is killed takes with it
/// what it has not sent: mostly all that it has done for the command that killed it.
#[cfg(feature = "otlp")]
const DELAY: Duration = Duration::from_secs(1);

/// Traces; and where the sampler follows parents, how many of those that begin here are recorded.
#[cfg(feature = "otlp")]
pub(super) fn traces(
    resource: Resource,
    endpoint: Option<&str>,
    said: &mut Vec<String>,
) -> Option<(SdkTracerProvider, Option<f64>)> {
    let exporter = heard("traces", super::exporters::spans(endpoint), said)?;
    let batches = BatchConfigBuilder::default();
    let batches = match super::signals::variable("OTEL_BSP_SCHEDULE_DELAY") {
        Some(_) => batches,
        None => batches.with_scheduled_delay(DELAY),
    };
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build());
    let mut builder = SdkTracerProvider::builder().with_resource(resource);
    let ratio = sampler::ratio(said);
    if let Some(ratio) = ratio {
        builder = builder.with_sampler(Decided::of(ratio));
    }
    let provider = builder.with_span_processor(processor.build()).build();
    Some((provider, ratio))
}

#[cfg(feature = "otlp")]
pub(super) fn logs(resource: Resource, said: &mut Vec<String>) -> Option<SdkLoggerProvider> {
    let exporter = heard("logs", super::exporters::logs(), said)?;
    let builder = SdkLoggerProvider::builder().with_resource(resource);
    Some(builder.with_batch_exporter(exporter).build())
}

/// Figures for a collector where they are `exported`, and for `/metrics` where there are `figures` to fill.
pub(super) fn metrics(
    resource: Resource,
    exported: bool,
    figures: Option<Arc<Figures>>,
    said: &mut Vec<String>,
) -> Option<SdkMeterProvider> {
    let mut builder = SdkMeterProvider::builder().with_resource(resource);
    #[cfg(feature = "otlp")]
    if exported && let Some(exporter) = heard("metrics", super::exporters::metrics(), said) {
        builder = builder.with_periodic_exporter(exporter);
    }
    #[cfg(not(feature = "otlp"))]
    if exported {
        said.push(without("metrics"));
    }
    if let Some(figures) = figures {
        builder = builder.with_reader(prometheus::Reader(figures));
    }
    Some(builder.build())
}

/// An exporter of which we hear whether it is heard.
#[cfg(feature = "otlp")]
fn heard<E>(
    what: &'static str,
    exporter: Result<E, super::exporters::NoExporter>,
    said: &mut Vec<String>,
) -> Option<super::heard::Heard<E>> {
    let no_exporter = |error| said.push(format!("{what} are not exported: {error}"));
    let exporter = exporter.map_err(no_exporter).ok()?;
    Some(super::heard::Heard::new(exporter, what))
}

#[cfg(not(feature = "otlp"))]
pub(super) fn traces(
    _: Resource,
    _: Option<&str>,
    said: &mut Vec<String>,
) -> Option<(SdkTracerProvider, Option<f64>)> {
    said.push(without("traces"));
    None
}

#[cfg(not(feature = "otlp"))]
pub(super) fn logs(_: Resource, said: &mut Vec<String>) -> Option<SdkLoggerProvider> {
    said.push(without("logs"));
    None
}

#[cfg(not(feature = "otlp"))]
fn without(what: &str) -> String {
    format!("{what} are not exported: this program was built without the feature `otlp`")
}
