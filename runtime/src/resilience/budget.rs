//! How many retries a target can stand: storms of retries stop when successes do.
//!
//! One budget per target, shared by all commands to it. What it costs to be wrong about one command is
//! [`RetryState`](super::RetryState)'s concern.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::config::{Checked, InvalidConfig, Validate, ensure};

/// The size of a target's retry budget, in units of one success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetConfig {
    /// What is there at the start, and at most. Default 500: 35 retries in a row, a short outage of a busy target.
    /// At least `cost`.
    pub capacity: u32,
    /// What a retry takes. Default 14: in the long run one retry to 14 successes, so retries add at most 7 % load. At
    /// least 1.
    pub cost: u32,
    /// What a success gives back. Default 1.
    pub refill: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            capacity: 500,
            cost: 14,
            refill: 1,
        }
    }
}

impl Validate for BudgetConfig {
    fn validate(&self) -> Result<(), InvalidConfig> {
        ensure(self.cost >= 1, "cost", self.cost, "at least 1")?;
        ensure(
            self.capacity >= self.cost,
            "capacity",
            self.capacity,
            "at least `cost`",
        )
    }
}

/// The retries that a target can still stand.
///
/// ```
/// use mcp_runtime::resilience::RetryBudget;
///
/// let budget = RetryBudget::default();
/// let granted = (0..100).filter(|_| budget.spend()).count();
/// assert_eq!(granted, 35); // a target that never answers gets no more
///
/// (0..14).for_each(|_| budget.succeed());
/// assert!(budget.spend());
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    config: Checked<BudgetConfig>,
    left: AtomicU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(Checked::default())
    }
}

impl RetryBudget {
    /// Makes a full budget.
    pub fn new(config: Checked<BudgetConfig>) -> Self {
        Self {
            left: AtomicU32::new(config.capacity),
            config,
        }
    }

    /// Takes what a retry costs; false, and nothing taken, when that much is not left.
    pub fn spend(&self) -> bool {
        self.change(|left| left.checked_sub(self.config.cost))
    }

    /// Notes a success: the target works, so it can stand more.
    pub fn succeed(&self) {
        // A full budget is the normal case: then there is nothing to write, and no cache line to fight for.
        self.change(|left| {
            let more = left
                .saturating_add(self.config.refill)
                .min(self.config.capacity);
            (more != left).then_some(more)
        });
    }

    /// Returns what is left, in units of one success.
    pub fn left(&self) -> u32 {
        self.left.load(Relaxed)
    }

    fn change(&self, change: impl Fn(u32) -> Option<u32>) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, change).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_never_exceed_what_capacity_and_successes_pay_for(
            capacity in 1_u32..1_000, cost in 1_u32..50, refill in 0_u32..5,
            steps in prop::collection::vec(any::<bool>(), 0..500)
        ) {
            let config = BudgetConfig { capacity: capacity.max(cost), cost, refill };
            let budget = RetryBudget::new(Checked::new(config).unwrap());
            let (mut retries, mut successes) = (0, 0);
            for retry in steps {
                if retry {
                    retries += u32::from(budget.spend());
                } else {
                    budget.succeed();
                    successes += 1;
                }
                prop_assert!(budget.left() <= config.capacity);
            }
            prop_assert!(retries * cost <= config.capacity + successes * refill);
        }
    }

    #[test]
    fn bounds_are_enforced() {
        let zero = BudgetConfig {
            cost: 0,
            ..BudgetConfig::default()
        };
        assert_eq!(Checked::new(zero).unwrap_err().field, "cost");
        let small = BudgetConfig {
            capacity: 13,
            ..BudgetConfig::default()
        };
        assert_eq!(Checked::new(small).unwrap_err().field, "capacity");
    }
}
