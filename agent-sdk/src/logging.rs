//! Log lines on standard error and to a collector, and where spans go.

use std::{fmt, io::IsTerminal};

use mcp_runtime::telemetry::SPAN_TARGET;
use opentelemetry::{Context as TraceContext, trace::TraceContextExt};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::{logs::SdkLoggerProvider, trace::SdkTracer};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Libraries below us: their spans are not our trace, and what the exporter's say would feed on itself.
const LIBRARIES: [&str; 6] = [
    "async_nats",
    "h2",
    "hyper",
    "opentelemetry",
    "tonic",
    "tower",
];

/// Writes log lines to standard error, unless the program has set up something of its own.
///
/// `MCP_LOG` filters as `RUST_LOG` does (default `info`), `MCP_LOG_FORMAT=json` makes each line a JSON object.
/// Colours on a terminal only.
pub fn init_logging() {
    init(None, None, true);
}

/// Sends spans to a tracer, lines to a collector and to standard error, each if it is wanted. Returns whether it could.
pub(crate) fn init(
    tracer: Option<SdkTracer>,
    collector: Option<&SdkLoggerProvider>,
    lines: bool,
) -> bool {
    let spans = tracer.map(|tracer| {
        OpenTelemetryLayer::new(tracer)
            // Where in our code a span stands, and on which thread, is of no use to its reader.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_exported).with_max_level_hint(LevelFilter::INFO))
    });
    let exported_lines = collector.map(|collector| {
        // It adds the ids of trace and span by itself. What the exporter's own libraries say would be exported in turn.
        OpenTelemetryTracingBridge::new(collector)
            .with_filter(lines_filter())
            .with_filter(filter_fn(|metadata| {
                metadata.is_event() && !is_library(metadata)
            }))
    });
    let json = std::env::var("MCP_LOG_FORMAT").is_ok_and(|format| format == "json");
    let text_lines = (lines && !json).then(|| {
        let format = tracing_subscriber::fmt::format()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal());
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .event_format(Traced(format))
            .with_filter(lines_filter())
    });
    let json_lines = (lines && json).then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .json()
            .map_event_format(Traced)
            .with_filter(lines_filter())
    });
    // An error only says that the program has a subscriber already: that is its right.
    tracing_subscriber::registry()
        .with(spans)
        .with(exported_lines)
        .with(text_lines)
        .with(json_lines)
        .try_init()
        .is_ok()
}

/// What the log shows: never the spans that are there to be exported, which would repeat themselves in each line.
fn lines_filter<S: Subscriber>() -> impl Filter<S> {
    let filter = std::env::var("MCP_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::new(filter.as_deref().unwrap_or("info,async_nats=warn"));
    let without_spans = format!("{SPAN_TARGET}=off");
    filter
        .add_directive(without_spans.parse().expect("a target and a level"))
        .and(filter_fn(|metadata| !holds_messages(metadata)))
}

/// Whether a line would hold whole messages, or the credentials of the connection: whatever is asked for, these are not logged.
fn holds_messages(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("async_nats") && *metadata.level() == Level::TRACE
}

/// Our spans and those of an agent's author; no events, whose fields may be anything.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && !is_library(metadata)
}

fn is_library(metadata: &Metadata<'_>) -> bool {
    LIBRARIES
        .iter()
        .any(|library| metadata.target().starts_with(library))
}

/// A format that ends its lines with the ids of trace and span, where there are any.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Spans are asked of OpenTelemetry: this layer's own filter hides them from it.
        let ids = TraceContext::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            ids.is_valid().then(|| (ids.trace_id(), ids.span_id()))
        });
        let Some((trace_id, span_id)) = ids else {
            return self.0.format_event(ctx, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
            Some(object) => writeln!(
                writer,
                r#"{object},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#
            ),
            None => writeln!(writer, "{line} trace_id={trace_id} span_id={span_id}"),
        }
    }
}
