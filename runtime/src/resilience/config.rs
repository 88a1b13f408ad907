//! What the configurations of all policies share: bounds, checked once.

use std::fmt::Debug;
use std::ops::Deref;

/// A configuration that knows its own bounds.
pub trait Validate: Copy {
    /// Says whether every field is within the bounds its documentation names.
    ///
    /// # Errors
    /// The first field that is not.
    fn validate(&self) -> Result<(), InvalidConfig>;
}

/// A configuration that was found valid; the only kind that policies are built from.
///
/// ```
/// use mcp_runtime::resilience::{Checked, RetryConfig};
///
/// let config = Checked::new(RetryConfig { max_retries: 5, ..RetryConfig::default() })?;
/// assert_eq!(config.max_retries, 5);
///
/// let error = Checked::new(RetryConfig { jitter: 1.5, ..RetryConfig::default() }).unwrap_err();
/// assert_eq!(error.to_string(), "`jitter` is 1.5, but must be from 0 to 1");
/// # Ok::<(), mcp_runtime::resilience::InvalidConfig>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checked<C>(C);

impl<C: Validate> Checked<C> {
    /// Checks `config`.
    ///
    /// # Errors
    /// The first field that is out of its bounds.
    pub fn new(config: C) -> Result<Self, InvalidConfig> {
        config.validate().map(|()| Self(config))
    }
}

impl<C: Validate + Default> Default for Checked<C> {
    fn default() -> Self {
        Self::new(C::default()).expect("defaults are within their own bounds")
    }
}

impl<C> Deref for Checked<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

/// A field of a configuration is out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}, but must be {bounds}")]
#[non_exhaustive]
pub struct InvalidConfig {
    /// The field's name in its configuration struct.
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub bounds: &'static str,
}

/// One line of a [`Validate`]: `field` has `value`, which is within `bounds` exactly if `holds`.
pub(super) fn ensure(
    holds: bool,
    field: &'static str,
    value: impl Debug,
    bounds: &'static str,
) -> Result<(), InvalidConfig> {
    if holds {
        return Ok(());
    }
    Err(InvalidConfig {
        field,
        value: format!("{value:?}"),
        bounds,
    })
}
