//! The W3C trace context, carried in headers from message to message.
//!
//! Where tracing is set up, headers say which span sent a message, and the span that handles it continues there. Where
//! it is not, what a message says is passed on as it is: a process without tracing does not break the trace of the others.

use async_nats::HeaderMap;
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Which trace a message belongs to, as its `traceparent` and `tracestate` headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl TraceContext {
    /// The context in its two texts, as they stand in headers or in a record.
    #[must_use]
    pub fn new(traceparent: Option<String>, tracestate: Option<String>) -> Self {
        Self {
            traceparent,
            tracestate,
        }
    }

    /// That of the current span, or of the trace that is current and that nobody records; empty where there is none, or tracing is
    /// not set up.
    #[must_use]
    pub fn current() -> Self {
        let of_span = Self::of_span(&Span::current());
        of_span.or_else(Self::here).unwrap_or_default()
    }

    /// The W3C `traceparent`, for records that outlive their message.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The W3C `tracestate`.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// That of a span; `None` for one that nobody records.
    #[must_use]
    pub fn of_span(span: &Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        let context = span.context();
        let mut written = Self::default();
        global::get_text_map_propagator(|w3c| w3c.inject_context(&context, &mut written));
        written.traceparent.is_some().then_some(written)
    }

    /// That of whatever is current, which may be a trace that nobody records.
    pub(crate) fn here() -> Option<Self> {
        let mut written = Self::default();
        Context::map_current(|context| {
            global::get_text_map_propagator(|w3c| w3c.inject_context(context, &mut written));
        });
        written.traceparent.is_some().then_some(written)
    }

    /// Whether the sender's trace is one that nobody records, and the sampler would follow it in that.
    pub(crate) fn is_dropped(&self) -> bool {
        // The last of its four parts are the flags, of which the lowest says that it is recorded.
        let flags = self
            .traceparent
            .as_deref()
            .and_then(|text| text.get(53..55));
        let flags = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok());
        telemetry::follows() && flags.is_some_and(|flags| flags & 1 == 0)
    }

    /// Reads the headers of a message.
    #[must_use]
    pub fn extract(headers: Option<&HeaderMap>) -> Self {
        let read = |name| {
            headers
                .and_then(|headers| headers.get(name))
                .map(|value| value.as_str().to_owned())
        };
        Self {
            traceparent: read(TRACEPARENT),
            tracestate: read(TRACESTATE),
        }
    }

    /// Writes the headers of a message.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.as_str());
        }
        if let Some(tracestate) = &self.tracestate {
            headers.insert(TRACESTATE, tracestate.as_str());
        }
    }

    /// Lets a new span continue this trace, unless the span that it was made in does already: then it is nearer.
    pub(crate) fn continue_in(&self, span: &Span) {
        if self.traceparent.is_none() || span.is_disabled() {
            return;
        }
        let remote = self.remote();
        let remote_trace = remote.span().span_context().trace_id();
        let is_here = Context::map_current(|here| {
            here.span().span_context().is_valid()
                && here.span().span_context().trace_id() == remote_trace
        });
        if !is_here {
            // It fails only for a span that has begun, which a new one has not.
            let _ = span.set_parent(remote);
        }
    }

    /// Makes the sender both parent and link of a new span.
    pub(crate) fn parent_and_link(&self, span: &Span) {
        if self.traceparent.is_none() || span.is_disabled() {
            return;
        }
        let remote = self.remote();
        let sender = remote.span().span_context().clone();
        let _ = span.set_parent(remote);
        span.add_link(sender);
    }

    /// Makes the sender the parent of a new span.
    pub(crate) fn parent(&self, span: &Span) {
        if self.traceparent.is_some() && !span.is_disabled() {
            let _ = span.set_parent(self.remote());
        }
    }

    /// Links a span to this trace.
    pub(crate) fn link(&self, span: &Span) {
        if self.traceparent.is_some() && !span.is_disabled() {
            span.add_link(self.remote().span().span_context().clone());
        }
    }

    /// As a context to work in.
    pub(crate) fn remote(&self) -> Context {
        global::get_text_map_propagator(|w3c| w3c.extract_with_context(&Context::new(), self))
    }
}

impl Injector for TraceContext {
    fn set(&mut self, key: &str, value: String) {
        // An empty state says nothing and costs a header.
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE if !value.is_empty() => self.tracestate = Some(value),
            _ => {}
        }
    }
}

impl Extractor for TraceContext {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent(),
            TRACESTATE => self.tracestate(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_flag_says_whether_a_trace_is_recorded() {
        telemetry::sampler_follows_parents(1.0);
        let ids = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        let check = |traceparent: Option<String>, expected: bool| {
            let context = TraceContext::new(traceparent.clone(), None);
            assert_eq!(context.is_dropped(), expected, "{traceparent:?}");
        };
        check(Some(format!("{ids}-00")), true);
        check(Some(format!("{ids}-01")), false);
        check(Some(format!("{ids}-02")), true);
        check(Some(format!("{ids}-03")), false);
        // What cannot be read is for the sampler.
        check(Some(format!("{ids}-zz")), false);
        check(Some("00-é".to_owned()), false);
        check(None, false);
    }

    #[test]
    fn without_tracing_headers_pass_through_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert(
            TRACEPARENT,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        headers.insert(TRACESTATE, "vendor=1");
        let read = TraceContext::extract(Some(&headers));
        assert_eq!(TraceContext::of_span(&Span::none()), None);
        assert_eq!(TraceContext::current(), TraceContext::default());
        let mut written = HeaderMap::new();
        read.inject(&mut written);
        assert_eq!(written, headers);
    }
}
