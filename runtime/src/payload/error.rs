//! What can go wrong with a large body, and whether trying again can help.

use crate::message::{McpError, code};

/// Why a large body was not stored or not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("the body of {size} bytes is over the limit of {limit} bytes")]
    TooLarge { size: u64, limit: u64 },
    /// The headers are no claim.
    #[error("the claim check cannot be read: {reason}")]
    Claim { reason: String },
    /// Nothing of that name is stored, or no longer all of it.
    #[error("payload `{name}` is not stored: {reason}")]
    Missing { name: String, reason: &'static str },
    /// Something else is stored than the message claims.
    #[error("payload `{name}` is not what the message claims: {reason}")]
    Differs { name: String, reason: String },
    /// Another body has the name.
    #[error("payload `{name}` is already stored with other bytes")]
    Taken { name: String },
    /// This connection may not use the store.
    #[error("the server does not let this connection use {subject}")]
    Denied { subject: String },
    /// The server is away, or does not store.
    #[error("the payload store cannot be reached: {reason}")]
    Unavailable { reason: String },
}

impl PayloadError {
    /// Whether trying again can help.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The error in the protocol's form.
    pub(crate) fn to_mcp_error(&self) -> McpError {
        let message = self.to_string();
        match self {
            Self::TooLarge { size, limit } => McpError::permanent(code::PAYLOAD_TOO_LARGE)
                .message(message)
                .detail("size", *size)
                .detail("limit", *limit),
            Self::Denied { subject } => McpError::permanent(code::PERMISSION_DENIED)
                .message(message)
                .detail("subject", subject.as_str()),
            Self::Unavailable { .. } => {
                McpError::temporary(code::TRANSPORT_UNAVAILABLE).message(message)
            }
            _ => McpError::permanent(code::INVALID_MESSAGE).message(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Category;

    #[test]
    fn only_an_absent_server_is_worth_another_try() {
        let check = |error: PayloadError, code: &str| {
            let mcp = error.to_mcp_error();
            assert_eq!(mcp.code, code);
            assert_eq!(
                mcp.category == Category::Temporary,
                error.is_temporary(),
                "{error}"
            );
        };
        let name = || "x".to_owned();
        check(
            PayloadError::TooLarge { size: 2, limit: 1 },
            code::PAYLOAD_TOO_LARGE,
        );
        check(
            PayloadError::Claim { reason: name() },
            code::INVALID_MESSAGE,
        );
        check(
            PayloadError::Missing {
                name: name(),
                reason: "",
            },
            code::INVALID_MESSAGE,
        );
        check(
            PayloadError::Differs {
                name: name(),
                reason: name(),
            },
            code::INVALID_MESSAGE,
        );
        check(PayloadError::Taken { name: name() }, code::INVALID_MESSAGE);
        check(
            PayloadError::Denied { subject: name() },
            code::PERMISSION_DENIED,
        );
        check(
            PayloadError::Unavailable { reason: name() },
            code::TRANSPORT_UNAVAILABLE,
        );
    }
}
