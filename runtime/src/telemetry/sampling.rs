//! Which traces are recorded, known before their spans are put together: a span that nobody will see should cost next to nothing.
//!
//! It decides nothing. The sampler does, at the root of a trace; below, and across processes, its decision is in the trace
//! context, and a sampler that follows parents (the default, and all `parentbased_` ones) would only repeat it.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::{Context, trace::TraceContextExt};

static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Says that the sampler of this process records a span exactly when its parent is recorded. Until then every span is put
/// together, and the sampler asked.
pub fn sampler_follows_parents() {
    FOLLOWS.store(true, Ordering::Relaxed);
}

pub(crate) fn follows() -> bool {
    FOLLOWS.load(Ordering::Relaxed)
}

/// Whether what happens here and now belongs to a trace that nobody records.
pub(super) fn is_dropped() -> bool {
    follows()
        && Context::map_current(|context| {
            let span = context.span();
            let here = span.span_context();
            here.is_valid() && !here.is_sampled()
        })
}
