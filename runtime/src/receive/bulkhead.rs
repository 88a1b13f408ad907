//! Bulkheads: how many commands of one action may run at once, so that a slow one leaves room for the
//! others.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CommandHandler;

/// The actions that have a limit of their own.
pub(super) struct Bulkheads {
    by_action: HashMap<String, Arc<Semaphore>>,
}

impl Bulkheads {
    pub(super) fn of(handler: &dyn CommandHandler) -> Self {
        let limited = handler.actions().into_iter().filter_map(|action| {
            let limit = handler.limit(&action)?.max(1);
            Some((action, Arc::new(Semaphore::new(limit as usize))))
        });
        Self {
            by_action: limited.collect(),
        }
    }

    /// The semaphore of an action; `None` when it has no limit.
    pub(super) fn of_action(&self, action: &str) -> Option<Arc<Semaphore>> {
        self.by_action.get(action).map(Arc::clone)
    }
}

/// The right to run a limited action; `None` inside for one without a limit.
pub(super) struct Berth(
    #[expect(dead_code, reason = "held for its drop")] pub(super) Option<OwnedSemaphorePermit>,
);
