//! The W3C trace context, carried in headers from message to message.

use async_nats::HeaderMap;

/// Which trace a message belongs to, as its `traceparent` and `tracestate` headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl TraceContext {
    /// Reads the headers of a message.
    pub(crate) fn extract(headers: Option<&HeaderMap>) -> Self {
        let read = |name| {
            headers
                .and_then(|headers| headers.get(name))
                .map(|value| value.as_str().to_owned())
        };
        Self {
            traceparent: read("traceparent"),
            tracestate: read("tracestate"),
        }
    }

    /// Writes the headers of a message.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(traceparent) = &self.traceparent {
            headers.insert("traceparent", traceparent.as_str());
        }
        if let Some(tracestate) = &self.tracestate {
            headers.insert("tracestate", tracestate.as_str());
        }
    }
}
