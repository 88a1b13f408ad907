//! What a client remembers of each agent that it sends to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{message::Name, resilience::RetryBudget};

/// Targets remembered; a program that sends to more forgets some and begins anew with them.
const MOST_TARGETS: usize = 4_096;

/// The policies' state for one target.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) budget: RetryBudget,
}

#[derive(Default)]
pub(crate) struct Targets {
    by_name: Mutex<HashMap<Name, Arc<Target>>>,
}

impl Targets {
    pub(crate) fn of(&self, name: &Name) -> Arc<Target> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = by_name.get(name) {
            return Arc::clone(target);
        }
        if by_name.len() >= MOST_TARGETS {
            by_name.clear();
        }
        Arc::clone(by_name.entry(name.clone()).or_default())
    }
}
