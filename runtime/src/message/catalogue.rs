//! The runtime's error codes for people: what causes each, and what to do about it.
//!
//! [`CODES`] is what `mcpctl explain` prints.

use crate::nearest::nearest;

use super::{Category, code};

/// One error code of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeInfo {
    /// One of [`code`].
    pub code: &'static str,
    /// Whether trying again can help, unless the error itself says otherwise.
    pub category: Category,
    /// What has happened, in one sentence.
    pub cause: &'static str,
    /// What to do about it, in one sentence.
    pub remedy: &'static str,
}

impl CodeInfo {
    const fn temporary(code: &'static str, cause: &'static str, remedy: &'static str) -> Self {
        let category = Category::Temporary;
        Self {
            code,
            category,
            cause,
            remedy,
        }
    }

    const fn permanent(code: &'static str, cause: &'static str, remedy: &'static str) -> Self {
        let category = Category::Permanent;
        Self {
            code,
            category,
            cause,
            remedy,
        }
    }

    /// Finds a code, in upper or lower case; `None` for a handler's own.
    #[must_use]
    pub fn of(code: &str) -> Option<&'static Self> {
        CODES
            .iter()
            .find(|info| info.code.eq_ignore_ascii_case(code))
    }

    /// The code that is written most like `code`.
    #[must_use]
    pub fn nearest(code: &str) -> &'static Self {
        let candidates = CODES.iter().map(|info| info.code);
        nearest(&code.to_uppercase(), candidates, usize::MAX)
            .and_then(Self::of)
            .expect("the catalogue is not empty")
    }
}

/// Every code of [`code`], the permanent ones first.
///
/// | code | category | cause | remedy |
/// |---|---|---|---|
/// | `INVALID_PARAMETERS` | PERMANENT | the action cannot read its parameters | correct the field in `details.field` and send again |
/// | `INVALID_MESSAGE` | PERMANENT | the body is no version 1 message of its kind, or disagrees with its subject | correct the sender, or the types of the caller |
/// | `UNKNOWN_ACTION` | PERMANENT | the agent has no action of this name | choose one of `details.actions`, or deploy the version of the agent that has it |
/// | `DEADLINE_EXCEEDED` | PERMANENT | the command was taken up after its time to live, or ran out of it | send it with a longer time to live, or run more instances |
/// | `CANCELLED` | PERMANENT | somebody has cancelled the command | send it again if it is wanted after all |
/// | `IDEMPOTENCY_CONFLICT` | PERMANENT | the idempotency key was used before, with other parameters | use a new key for new parameters, or repeat the old parameters |
/// | `PAYLOAD_TOO_LARGE` | PERMANENT | the body is over the limit, or the server takes no message of its size | send less or a reference, or raise `MCP_MAX_BODY` at both ends |
/// | `POISON` | PERMANENT | the command was given back five times by workers that died with it | mend the handler, then redrive the dead letter |
/// | `PERMISSION_DENIED` | PERMANENT | the server does not let this identity use the subject in `details.subject` | grant the subject, or use other credentials |
/// | `NO_SUCH_WORKFLOW` | PERMANENT | there is no workflow of this id | correct the id, or find it with `mcpctl workflow list` |
/// | `NO_SUCH_DEFINITION` | PERMANENT | no engine has ever brought the workflow definition | correct the name, or start the agent that has it |
/// | `NO_SUCH_STATE` | PERMANENT | the workflow's definition has no such state | choose a state of the version that the workflow runs: `mcpctl workflow graph` |
/// | `ILLEGAL_TRANSITION` | PERMANENT | the workflow's definition allows no such transition from the state it is in | choose one that `mcpctl workflow graph` shows, or change the definition in a new version |
/// | `NO_SUCH_CHECKPOINT` | PERMANENT | the workflow has no checkpoint of this name | choose one that `mcpctl workflow checkpoints` shows |
/// | `WORKFLOW_ENDED` | PERMANENT | the workflow has ended, so it takes nothing in any more | start another, or restore a checkpoint of it; `mcpctl workflow resume` is for failed ones |
/// | `WORKFLOW_EXISTS` | PERMANENT | the id belongs to a workflow of another definition | start under another id |
/// | `STATE_MISMATCH` | PERMANENT | the workflow is in another state than the transition expects | look at it with `mcpctl workflow show`, and decide anew |
/// | `HANDLER_PANICKED` | TEMPORARY | the handler panicked; the agent goes on | look for the panic in the agent's log and mend it |
/// | `INTERNAL` | TEMPORARY | a handler failed with an error that says nothing about itself, or its result cannot be encoded | read the message and `details.chain`, and give the error a code of its own |
/// | `OVERLOADED` | TEMPORARY | every place for handlers is taken, and so is the queue before them | wait for `retry_delay_ms`, run more instances, or raise their capacity |
/// | `DRAINING` | TEMPORARY | the instance is shutting down and takes no realtime commands | send again: another instance answers, or the next one |
/// | `TIMEOUT` | TEMPORARY | no reply came in time; `details.queued` says whether the command is stored | check that the agent runs, wait longer, or submit the command and fetch its outcome |
/// | `CIRCUIT_OPEN` | TEMPORARY | the target has kept failing, so this requester refuses before it publishes | wait for `retry_delay_ms`, and look at why the target fails |
/// | `RATE_LIMITED` | TEMPORARY | more is sent than the target takes | send less often, or raise the target's limit |
/// | `NO_INSTANCE` | TEMPORARY | no instance of the target is alive, and the caller requires one | start the agent, see `mcpctl agents`; or let the command wait in its queue |
/// | `TRANSPORT_UNAVAILABLE` | TEMPORARY | the server cannot be reached, does not store, or nobody listens for the realtime command | check the server and its storage with `mcpctl doctor` |
pub const CODES: &[CodeInfo] = &[
    CodeInfo::permanent(
        code::INVALID_PARAMETERS,
        "the action cannot read its parameters",
        "correct the field in `details.field` and send again",
    ),
    CodeInfo::permanent(
        code::INVALID_MESSAGE,
        "the body is no version 1 message of its kind, or disagrees with its subject",
        "correct the sender, or the types of the caller",
    ),
    CodeInfo::permanent(
        code::UNKNOWN_ACTION,
        "the agent has no action of this name",
        "choose one of `details.actions`, or deploy the version of the agent that has it",
    ),
    CodeInfo::permanent(
        code::DEADLINE_EXCEEDED,
        "the command was taken up after its time to live, or ran out of it",
        "send it with a longer time to live, or run more instances",
    ),
    CodeInfo::permanent(
        code::CANCELLED,
        "somebody has cancelled the command",
        "send it again if it is wanted after all",
    ),
    CodeInfo::permanent(
        code::IDEMPOTENCY_CONFLICT,
        "the idempotency key was used before, with other parameters",
        "use a new key for new parameters, or repeat the old parameters",
    ),
    CodeInfo::permanent(
        code::PAYLOAD_TOO_LARGE,
        "the body is over the limit, or the server takes no message of its size",
        "send less or a reference, or raise `MCP_MAX_BODY` at both ends",
    ),
    CodeInfo::permanent(
        code::POISON,
        "the command was given back five times by workers that died with it",
        "mend the handler, then redrive the dead letter",
    ),
    CodeInfo::permanent(
        code::PERMISSION_DENIED,
        "the server does not let this identity use the subject in `details.subject`",
        "grant the subject, or use other credentials",
    ),
    CodeInfo::permanent(
        code::NO_SUCH_WORKFLOW,
        "there is no workflow of this id",
        "correct the id, or find it with `mcpctl workflow list`",
    ),
    CodeInfo::permanent(
        code::NO_SUCH_DEFINITION,
        "no engine has ever brought the workflow definition",
        "correct the name, or start the agent that has it",
    ),
    CodeInfo::permanent(
        code::NO_SUCH_STATE,
        "the workflow's definition has no such state",
        "choose a state of the version that the workflow runs: `mcpctl workflow graph`",
    ),
    CodeInfo::permanent(
        code::ILLEGAL_TRANSITION,
        "the workflow's definition allows no such transition from the state it is in",
        "choose one that `mcpctl workflow graph` shows, or change the definition in a new version",
    ),
    CodeInfo::permanent(
        code::NO_SUCH_CHECKPOINT,
        "the workflow has no checkpoint of this name",
        "choose one that `mcpctl workflow checkpoints` shows",
    ),
    CodeInfo::permanent(
        code::WORKFLOW_ENDED,
        "the workflow has ended, so it takes nothing in any more",
        "start another, or restore a checkpoint of it; `mcpctl workflow resume` is for failed ones",
    ),
    CodeInfo::permanent(
        code::WORKFLOW_EXISTS,
        "the id belongs to a workflow of another definition",
        "start under another id",
    ),
    CodeInfo::permanent(
        code::STATE_MISMATCH,
        "the workflow is in another state than the transition expects",
        "look at it with `mcpctl workflow show`, and decide anew",
    ),
    CodeInfo::temporary(
        code::HANDLER_PANICKED,
        "the handler panicked; the agent goes on",
        "look for the panic in the agent's log and mend it",
    ),
    CodeInfo::temporary(
        code::INTERNAL,
        "a handler failed with an error that says nothing about itself, or its result cannot be encoded",
        "read the message and `details.chain`, and give the error a code of its own",
    ),
    CodeInfo::temporary(
        code::OVERLOADED,
        "every place for handlers is taken, and so is the queue before them",
        "wait for `retry_delay_ms`, run more instances, or raise their capacity",
    ),
    CodeInfo::temporary(
        code::DRAINING,
        "the instance is shutting down and takes no realtime commands",
        "send again: another instance answers, or the next one",
    ),
    CodeInfo::temporary(
        code::TIMEOUT,
        "no reply came in time; `details.queued` says whether the command is stored",
        "check that the agent runs, wait longer, or submit the command and fetch its outcome",
    ),
    CodeInfo::temporary(
        code::CIRCUIT_OPEN,
        "the target has kept failing, so this requester refuses before it publishes",
        "wait for `retry_delay_ms`, and look at why the target fails",
    ),
    CodeInfo::temporary(
        code::RATE_LIMITED,
        "more is sent than the target takes",
        "send less often, or raise the target's limit",
    ),
    CodeInfo::temporary(
        code::NO_INSTANCE,
        "no instance of the target is alive, and the caller requires one",
        "start the agent, see `mcpctl agents`; or let the command wait in its queue",
    ),
    CodeInfo::temporary(
        code::TRANSPORT_UNAVAILABLE,
        "the server cannot be reached, does not store, or nobody listens for the realtime command",
        "check the server and its storage with `mcpctl doctor`",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        // Constants cannot be listed by a program, their source can.
        let declared: BTreeSet<&str> = include_str!("error.rs")
            .lines()
            .filter_map(|line| {
                line.trim_start()
                    .strip_prefix("pub const ")?
                    .split(':')
                    .next()
            })
            .collect();
        let explained: BTreeSet<&str> = CODES.iter().map(|info| info.code).collect();
        assert_eq!(explained, declared);
        assert_eq!(CODES.len(), explained.len(), "no code twice");
    }

    #[test]
    fn table_in_the_docs_says_the_same() {
        let rows: Vec<&str> = include_str!("catalogue.rs")
            .lines()
            .filter(|line| line.starts_with("/// | `"))
            .collect();
        let row = |info: &CodeInfo| {
            let category = match info.category {
                Category::Temporary => "TEMPORARY",
                Category::Permanent => "PERMANENT",
            };
            format!(
                "/// | `{}` | {category} | {} | {} |",
                info.code, info.cause, info.remedy
            )
        };
        assert_eq!(rows, CODES.iter().map(row).collect::<Vec<_>>());
    }

    #[test]
    fn misspelt_code_has_a_nearest() {
        assert_eq!(CodeInfo::of("timeout").unwrap().code, code::TIMEOUT);
        assert_eq!(CodeInfo::of("GPU_BUSY"), None);
        assert_eq!(CodeInfo::nearest("overlaoded").code, code::OVERLOADED);
    }
}
