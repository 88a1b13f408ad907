//! What a policy says instead of handing out a permit.

use std::time::Duration;

/// A command was refused before it was published, with advice on when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; worth another try in {retry_after:?}")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Trying again sooner is in vain. Travels as `retry_delay_ms`.
    pub retry_after: Duration,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The breaker is open.
    #[error("the circuit is open")]
    CircuitOpen,
    /// An operator holds the breaker open.
    #[error("the circuit is held open by an operator")]
    ForcedOpen,
    /// The breaker is half-open and all its probes are under way.
    #[error("the circuit is half-open and its probes are under way")]
    Probing,
    /// The target asked for a pause.
    #[error("the target asked for a pause")]
    Paused,
    /// As many commands wait for the target as may.
    #[error("the limiter's queue is full")]
    QueueFull,
    /// The limiter has no room for it before its time-out or deadline.
    #[error("the rate limit leaves no room in time")]
    RateLimited,
}
