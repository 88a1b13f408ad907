//! What the runtime tells about itself: spans of one trace over all agents, and figures.
//!
//! Nothing is exported from here. Spans go to whatever `tracing` subscriber the program has, under the target
//! [`SPAN_TARGET`]; figures to the meter given to [`record_metrics`], and nowhere before that. Both cost next to
//! nothing until then. The SDK sets both up from the standard `OTEL_*` variables.
//!
//! Spans carry ids, never bodies, keys or credentials. Labels of figures carry neither: agent, action, lane and outcome,
//! all of which are few.

mod health;
mod instruments;
mod limits;
mod load;
mod metrics;
mod processing;
mod publishing;
mod sampling;
mod spans;
mod workflows;

pub use health::{HUNG_AFTER, Health};
pub use instruments::{METRIC_NAMES, record_metrics};
pub use metrics::pack_of;
pub use sampling::{is_chosen, sampler_follows_parents};
pub use workflows::{
    WorkflowSpan, cas_conflict, checkpoint_restored, checkpoint_saved, checkpoint_span, fire_span,
    link, span_failed, timer_fired, workflow_persisted, workflow_transition,
};

pub(crate) use health::Pulse;
#[cfg(test)]
pub(crate) use limits::by_target;
pub(crate) use limits::watch_limits;
pub(crate) use load::watch_load;
pub(crate) use metrics::{breaker_changed, dead_letter, limiter_waited, queue_wait, retried};
pub(crate) use processing::{Arrival, Ending, Processing};
pub(crate) use publishing::Publishing;
pub(crate) use sampling::follows;
pub(crate) use spans::{breaker_seen, sending, sent, settling, submitted, submitting};

/// The target of all spans of the runtime, for filters: they are of interest to a tracing backend, and would fill a
/// log.
pub const SPAN_TARGET: &str = "mcp_runtime::span";
