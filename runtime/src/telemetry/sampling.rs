//! Which traces are recorded, known before their spans are put together: a span that nobody will see should cost next to nothing.
//!
//! A trace is decided on once, where it begins. Below, and across processes, the decision is in the trace context, and a sampler
//! that follows parents (the default, and all `parentbased_` ones) would only repeat it. So with such a sampler we decide at the
//! root by its own ratio, before there is a span. What is chosen gets its span, with a mark in the context that the sampler obeys
//! ([`is_chosen`]): asked again it might say otherwise. What is not chosen gets a name that goes along in the headers, and no span.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::{
    Context,
    trace::{SpanId, TraceContextExt, TraceId},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::trace::TraceContext;

/// No ratio: the sampler is asked each time.
const ASKED: u64 = u64::MAX;

/// The bits of the ratio.
static RATIO: AtomicU64 = AtomicU64::new(ASKED);

/// Says that the sampler of this process records a span exactly when its parent is recorded, and of the traces that begin here so
/// many: from 0.0 (none) to 1.0 (all). The sampler must record what [`is_chosen`]. Until this is said every span is put together,
/// and the sampler asked.
pub fn sampler_follows_parents(ratio: f64) {
    RATIO.store(ratio.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
}

/// Whether the span that is to have this parent begins a trace that was decided to be recorded.
#[must_use]
pub fn is_chosen(parent: &Context) -> bool {
    parent.get::<Chosen>().is_some() && !parent.span().span_context().is_valid()
}

/// The mark of a root that is recorded.
struct Chosen;

/// What becomes of a span that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is for the sampler, which mostly has decided already.
    Asked,
    /// It begins a trace that is recorded.
    Chosen,
    /// Nobody records the trace that it would be in.
    Unseen,
}

impl Fate {
    /// Of a span in the trace that is `given`, else in that of the current context, else at the root of a new one. When it is unseen,
    /// `given` becomes what its messages are to say.
    pub(super) fn of(given: &mut TraceContext) -> Self {
        let Some(ratio) = ratio() else {
            return Self::Asked;
        };
        if given.traceparent().is_some() {
            return if given.is_dropped() {
                Self::Unseen
            } else {
                Self::Asked
            };
        }
        match here() {
            Here::Recorded => Self::Asked,
            Here::Dropped => {
                *given = TraceContext::here().unwrap_or_default();
                Self::Unseen
            }
            Here::Nothing => Self::of_root(ratio, given),
        }
    }

    /// Of a span that begins a trace, whatever is current; `given` becomes what messages of an unseen one are to say.
    pub(super) fn at_root(given: &mut TraceContext) -> Self {
        ratio().map_or(Self::Asked, |ratio| Self::of_root(ratio, given))
    }

    fn of_root(ratio: f64, given: &mut TraceContext) -> Self {
        if ratio >= 1.0 {
            return Self::Asked;
        }
        if rand::random::<f64>() < ratio {
            return Self::Chosen;
        }
        let trace = TraceId::from(rand::random::<u128>());
        let span = SpanId::from(rand::random::<u64>());
        *given = TraceContext::new(Some(format!("00-{trace}-{span}-00")), None);
        Self::Unseen
    }

    /// Tells the sampler about a new span.
    pub(super) fn tell(self, span: &Span) {
        if self == Self::Chosen {
            // It fails only for a span that has begun, which a new one has not.
            let _ = span.set_parent(Context::new().with_value(Chosen));
        }
    }
}

enum Here {
    Nothing,
    Recorded,
    Dropped,
}

fn here() -> Here {
    Context::map_current(|context| {
        let span = context.span();
        let here = span.span_context();
        match (here.is_valid(), here.is_sampled()) {
            (false, _) => Here::Nothing,
            (true, true) => Here::Recorded,
            (true, false) => Here::Dropped,
        }
    })
}

fn ratio() -> Option<f64> {
    let bits = RATIO.load(Ordering::Relaxed);
    (bits != ASKED).then(|| f64::from_bits(bits))
}

pub(crate) fn follows() -> bool {
    ratio().is_some()
}

/// Whether what happens here and now belongs to a trace that nobody records.
pub(super) fn is_dropped() -> bool {
    follows() && matches!(here(), Here::Dropped)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

    use super::*;

    #[test]
    fn of_the_traces_that_begin_here_so_many_are_chosen_as_the_ratio_says() {
        let check = |ratio: f64, least: usize, most: usize| {
            let mut chosen = 0;
            for _ in 0..10_000 {
                let mut trace = TraceContext::default();
                match Fate::of_root(ratio, &mut trace) {
                    Fate::Asked | Fate::Chosen => {
                        assert_eq!(trace, TraceContext::default());
                        chosen += 1;
                    }
                    Fate::Unseen => {
                        let name = trace.traceparent().unwrap();
                        assert!(name.len() == 55 && name.ends_with("-00"), "{name}");
                    }
                }
            }
            assert!((least..=most).contains(&chosen), "{chosen} at {ratio}");
        };
        check(0.0, 0, 0);
        check(0.1, 850, 1_150);
        check(1.0, 10_000, 10_000);
    }

    #[test]
    fn the_mark_is_of_a_root_alone() {
        let marked = Context::new().with_value(Chosen);
        assert!(is_chosen(&marked) && !is_chosen(&Context::new()));
        let parent = SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        assert!(!is_chosen(&marked.with_remote_span_context(parent)));
    }
}
