//! What the limiters of this process let through, observed when somebody asks: a limit that is over, or whose target is forgotten,
//! is told no longer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, Weak},
};

use opentelemetry::{KeyValue, metrics::Meter};
use tokio::time::Instant;

use crate::{message::Name, targets::Known};

/// Clients of one process that are observed; more would be a test, not a service.
const MOST_CLIENTS: usize = 1_024;

static CLIENTS: Mutex<Vec<Weak<Known>>> = Mutex::new(Vec::new());

/// Observes the targets of a client for as long as it lives.
pub(crate) fn watch_limits(known: Weak<Known>) {
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    clients.retain(|known| known.strong_count() > 0);
    if clients.len() < MOST_CLIENTS {
        clients.push(known);
    }
}

/// By target: several clients in one process are one figure.
pub(crate) fn by_target(clients: &[Weak<Known>], now: Instant) -> BTreeMap<Name, f64> {
    let mut sums = BTreeMap::new();
    for known in clients.iter().filter_map(Weak::upgrade) {
        for (name, target) in &*known.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(limit) = target.limit(now) {
                *sums.entry(name.clone()).or_default() += limit;
            }
        }
    }
    sums
}

pub(super) fn observe(meter: &Meter) {
    // The meter keeps the callback; the instrument itself is of no further use.
    let _ = meter
        .f64_observable_gauge("agentmsg.limiter.rate")
        .with_unit("{command}/s")
        .with_description("What the limiter of a target lets through")
        .with_callback(|observer| {
            let clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
            for (target, limit) in by_target(&clients, Instant::now()) {
                observer.observe(limit, &[KeyValue::new("agent", target.to_string())]);
            }
        })
        .build();
}
