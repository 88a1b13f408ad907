//! The instruments: names, units and buckets, made once when somebody wants the figures.

use std::sync::OnceLock;

use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::{limits, load};

/// Seconds, from a quick publish to an hour of rendering.
const SECONDS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 600.0, 1200.0, 1800.0, 3600.0,
];

/// Bytes, from an empty record to the largest body.
const BYTES: [f64; 8] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    67_108_864.0,
];

/// Members of a pack.
const MEMBERS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// All figures by name, as a collector gets them. On `/metrics` dots are underscores, and unit and `_total` are added.
pub const METRIC_NAMES: [&str; 20] = [
    "agentmsg.breaker.transitions",
    "agentmsg.checkpoint.bytes",
    "agentmsg.dead_letters",
    "agentmsg.dedup.hits",
    "agentmsg.in_flight",
    "agentmsg.limiter.rate",
    "agentmsg.limiter.wait",
    "agentmsg.pack.size",
    "agentmsg.persistence",
    "agentmsg.queue.wait",
    "agentmsg.redeliveries",
    "agentmsg.retries",
    "agentmsg.timer.lateness",
    "agentmsg.utilization",
    "agentmsg.workflow.cas_conflicts",
    "agentmsg.workflow.transitions",
    "messaging.client.consumed.messages",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
    "messaging.process.duration",
];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Everything that is counted and measured.
pub(super) struct Instruments {
    pub(super) operation_duration: Histogram<f64>,
    pub(super) process_duration: Histogram<f64>,
    pub(super) sent: Counter<u64>,
    pub(super) consumed: Counter<u64>,
    pub(super) persistence: Counter<u64>,
    pub(super) redeliveries: Counter<u64>,
    pub(super) dead_letters: Counter<u64>,
    pub(super) dedup_hits: Counter<u64>,
    pub(super) queue_wait: Histogram<f64>,
    pub(super) breaker_transitions: Counter<u64>,
    pub(super) limiter_wait: Histogram<f64>,
    pub(super) retries: Counter<u64>,
    pub(super) pack_size: Histogram<u64>,
    pub(super) workflow_transitions: Counter<u64>,
    pub(super) cas_conflicts: Counter<u64>,
    pub(super) checkpoint_bytes: Histogram<u64>,
    pub(super) timer_lateness: Histogram<f64>,
}

/// Records the figures of everything in this process by instruments of `meter`, from now on. The first call
/// counts; a second one changes nothing.
pub fn record_metrics(meter: &Meter) {
    INSTRUMENTS.get_or_init(|| {
        load::observe(meter);
        limits::observe(meter);
        Instruments::new(meter)
    });
}

/// Does nothing, not even compute labels, where nobody wants the figures.
#[inline]
pub(super) fn with(record: impl FnOnce(&Instruments)) {
    if let Some(instruments) = INSTRUMENTS.get() {
        record(instruments);
    }
}

pub(super) fn wanted() -> bool {
    INSTRUMENTS.get().is_some()
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let count = |name: &'static str, unit: &'static str, text: &'static str| {
            let counter = meter.u64_counter(name).with_unit(unit);
            counter.with_description(text).build()
        };
        let seconds = |name: &'static str, text: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s");
            let histogram = histogram.with_boundaries(SECONDS.to_vec());
            histogram.with_description(text).build()
        };
        let sizes = |name: &'static str, unit: &'static str, bounds: &[f64], text: &'static str| {
            let histogram = meter.u64_histogram(name).with_unit(unit);
            let histogram = histogram.with_boundaries(bounds.to_vec());
            histogram.with_description(text).build()
        };
        Self {
            operation_duration: seconds(
                "messaging.client.operation.duration",
                "How long a publish took, to its acknowledgement",
            ),
            process_duration: seconds(
                "messaging.process.duration",
                "How long a message was worked on, to its settlement",
            ),
            sent: count(
                "messaging.client.sent.messages",
                "{message}",
                "Messages published",
            ),
            consumed: count(
                "messaging.client.consumed.messages",
                "{message}",
                "Messages delivered",
            ),
            persistence: count(
                "agentmsg.persistence",
                "{write}",
                "Writes of messages and outcomes, by what became of them",
            ),
            redeliveries: count(
                "agentmsg.redeliveries",
                "{message}",
                "Messages delivered more than once",
            ),
            dead_letters: count(
                "agentmsg.dead_letters",
                "{message}",
                "Messages put among the dead letters",
            ),
            dedup_hits: count(
                "agentmsg.dedup.hits",
                "{message}",
                "Messages recognised as known",
            ),
            queue_wait: seconds(
                "agentmsg.queue.wait",
                "From when a command was stored to when it was taken up",
            ),
            breaker_transitions: count(
                "agentmsg.breaker.transitions",
                "{transition}",
                "Changes of circuit breakers, by the state entered",
            ),
            limiter_wait: seconds(
                "agentmsg.limiter.wait",
                "How long a command waited for the rate limiter of its target",
            ),
            retries: count(
                "agentmsg.retries",
                "{retry}",
                "Attempts after the first, by who makes them",
            ),
            pack_size: sizes(
                "agentmsg.pack.size",
                "{message}",
                &MEMBERS,
                "Messages in one pack",
            ),
            workflow_transitions: count(
                "agentmsg.workflow.transitions",
                "{transition}",
                "Changes of state of workflows",
            ),
            cas_conflicts: count(
                "agentmsg.workflow.cas_conflicts",
                "{conflict}",
                "Writes of workflow records that somebody else preceded",
            ),
            checkpoint_bytes: sizes(
                "agentmsg.checkpoint.bytes",
                "By",
                &BYTES,
                "Sizes of checkpoints",
            ),
            timer_lateness: seconds(
                "agentmsg.timer.lateness",
                "How long after its time a timer was handled",
            ),
        }
    }
}
