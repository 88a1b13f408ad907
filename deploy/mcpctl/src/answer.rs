//! Answers of agents as they are shown: the frame's fields for `--json`, errors in words.

use mcp_agent_sdk::{McpError, Raw, runtime::Reply};
use serde_json::{Map, Value, json};

use crate::{cli::Global, failure::Failure, output};

/// A response and the document that tells more about it.
pub(crate) struct Answer {
    /// `<agent>.<action>`, for the sentence.
    pub(crate) of: String,
    /// What `--json` shows beside the frame.
    pub(crate) document: Map<String, Value>,
}

impl Answer {
    /// An answer to a command for this agent and action.
    pub(crate) fn new(agent: &str, action: &str) -> Self {
        Self {
            of: format!("{agent}.{action}"),
            document: Map::new(),
        }
    }

    /// Adds a field to the document.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.document.insert(field.to_owned(), value.into());
        self
    }

    /// Prints a result; an error is the command's own failure.
    pub(crate) fn show(mut self, reply: Reply, global: &Global) -> Result<(), Failure> {
        self.add_frame(&reply);
        if reply.replayed && !global.json {
            output::note("replayed: the stored outcome of the same key, nothing was done again");
        }
        let attempts = reply.attempt;
        match reply.into_outcome() {
            Some(Ok(result)) => {
                let result = as_json(&result)?;
                if global.json {
                    self.document.insert("result".to_owned(), result);
                    output::json(&self.document);
                } else {
                    output::json(&result);
                }
                Ok(())
            }
            Some(Err(error)) => {
                self.document.insert("error".to_owned(), json!(error));
                let sentence = format!("{} answered {}", self.of, in_words(&error, attempts));
                Err(Failure::answered(sentence).document(self.document.into()))
            }
            None => Err(Failure::answered(
                "the response carries neither result nor error",
            )),
        }
    }

    fn add_frame(&mut self, reply: &Reply) {
        let fields = [
            ("command_id", json!(reply.command_id)),
            ("agent", json!(reply.source)),
            ("instance", json!(reply.instance)),
            ("attempt", json!(reply.attempt)),
            ("processing_ms", json!(reply.processing_ms)),
            ("replayed", json!(reply.replayed)),
        ];
        for (field, value) in fields {
            self.document.entry(field).or_insert(value);
        }
    }
}

/// A result as JSON, which cannot hold everything that msgpack can.
pub(crate) fn as_json(result: &Raw) -> Result<Value, Failure> {
    serde_json::to_value(result)
        .map_err(|error| Failure::answered(format!("the result cannot be shown as JSON: {error}")))
}

/// An error with its advice.
pub(crate) fn in_words(error: &McpError, attempts: u32) -> String {
    let mut words = vec![if error.is_temporary() {
        "temporary".to_owned()
    } else {
        "permanent".to_owned()
    }];
    if let Some(delay) = error.retry_delay {
        words.push(format!("retry after {}", humantime::format_duration(delay)));
    }
    if attempts > 1 {
        words.push(format!("{attempts} attempts"));
    }
    if !error.details.is_empty() {
        words.push(Value::from(error.details.clone()).to_string());
    }
    format!("{error} ({})", words.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn error_is_told_with_its_advice() {
        let busy = McpError::temporary("GPU_BUSY")
            .message("all busy")
            .retry_after(Duration::from_secs(2));
        assert_eq!(
            in_words(&busy, 1),
            "GPU_BUSY: all busy (temporary, retry after 2s)"
        );
        let unknown = McpError::permanent("UNKNOWN_ACTION").detail("actions", json!(["echo"]));
        assert_eq!(
            in_words(&unknown, 3),
            r#"UNKNOWN_ACTION (permanent, 3 attempts, {"actions":["echo"]})"#
        );
    }
}
