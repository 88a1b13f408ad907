//! How busy the agents of this process are, observed when somebody asks: it costs messages nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{message::Name, receive::LoadMeter};

/// Workers of one process that are observed; more would be a test, not a service.
const MOST_WORKERS: usize = 1_024;

static WORKERS: Mutex<Vec<(Name, Weak<LoadMeter>)>> = Mutex::new(Vec::new());

/// Observes a worker for as long as it lives.
pub(crate) fn watch_load(agent: &Name, meter: &Arc<LoadMeter>) {
    let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    workers.retain(|(_, meter)| meter.strong_count() > 0);
    if workers.len() < MOST_WORKERS {
        workers.push((agent.clone(), Arc::downgrade(meter)));
    }
}

/// What runs and what could, by agent: several instances in one process are one figure.
fn by_agent() -> BTreeMap<String, (u32, u32)> {
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sums = BTreeMap::<String, (u32, u32)>::new();
    for (agent, meter) in workers.iter() {
        if let Some(load) = meter.upgrade().map(|meter| meter.load()) {
            let sum = sums.entry(agent.to_string()).or_default();
            *sum = (sum.0 + load.in_flight, sum.1 + load.capacity);
        }
    }
    sums
}

pub(super) fn observe(meter: &Meter) {
    let label = |agent: String| [KeyValue::new("agent", agent)];
    // The meter keeps the callbacks; the instruments themselves are of no further use.
    let _ = meter
        .u64_observable_gauge("agentmsg.in_flight")
        .with_unit("{message}")
        .with_description("Handlers that run")
        .with_callback(move |observer| {
            for (agent, (running, _)) in by_agent() {
                observer.observe(running.into(), &label(agent));
            }
        })
        .build();
    let _ = meter
        .f64_observable_gauge("agentmsg.utilization")
        .with_unit("1")
        .with_description("Handlers that run, as a part of the capacity")
        .with_callback(move |observer| {
            for (agent, (running, capacity)) in by_agent() {
                let part = f64::from(running) / f64::from(capacity.max(1));
                observer.observe(part.min(1.0), &label(agent));
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instances_of_one_agent_are_one_figure_and_the_dead_are_forgotten() {
        let name = Name::new("load_registry_test").unwrap();
        let (first, second) = (Arc::new(LoadMeter::new(4)), Arc::new(LoadMeter::new(6)));
        watch_load(&name, &first);
        watch_load(&name, &second);
        let running = first.begin(Duration::ZERO);
        assert_eq!(by_agent()["load_registry_test"], (1, 10));
        drop((running, first, second));
        assert!(!by_agent().contains_key("load_registry_test"));
    }
}
