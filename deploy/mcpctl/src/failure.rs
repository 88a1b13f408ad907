//! Why a command failed: one sentence, its remedy, and the exit code that belongs to it.

mod sources;

use std::{error::Error, io, process::ExitCode};

use serde_json::{Value, json};

use crate::output;

pub(crate) use sources::MAJORITY;

/// The exit codes, which scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The action answered an error, or a check failed.
    Answered = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// The server is unreachable, or there was no answer in time.
    Unreachable = 3,
}

/// Why a command failed. `main` prints it and exits with its code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    remedy: Option<String>,
    /// The document for `--json`, where it is not made of the sentence.
    document: Option<Value>,
    /// The command prints one document a line.
    one_line: bool,
}

impl Failure {
    /// Exit code 1: the action answered an error, or a check failed.
    pub(crate) fn answered(message: impl Into<String>) -> Self {
        Self::new(Exit::Answered, message.into())
    }

    /// Exit code 2: bad usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message.into())
    }

    /// Exit code 3: server unreachable, or no answer in time.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message.into())
    }

    /// Exit code 2, for something on this machine: a file, a process.
    pub(crate) fn io(what: impl AsRef<str>, error: &io::Error) -> Self {
        Self::usage(format!("{}: {error}", what.as_ref()))
    }

    fn new(exit: Exit, message: String) -> Self {
        Self {
            exit,
            message,
            remedy: None,
            document: None,
            one_line: false,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Replaces what `--json` prints.
    pub(crate) fn document(mut self, document: Value) -> Self {
        self.document = Some(document);
        self
    }

    /// For a command whose output is one document a line.
    pub(crate) fn in_one_line(mut self) -> Self {
        self.one_line = true;
        self
    }

    /// What failed, and what to do about it.
    pub(crate) fn parts(&self) -> (&str, Option<&str>) {
        (&self.message, self.remedy.as_deref())
    }

    /// The sentence for people, with the remedy.
    pub(crate) fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        }
    }

    /// The document for `--json`.
    pub(crate) fn to_json(&self) -> Value {
        self.document.clone().unwrap_or_else(|| {
            let code = match self.exit {
                Exit::Answered => "FAILED",
                Exit::Usage => "USAGE",
                Exit::Unreachable => "UNREACHABLE",
            };
            json!({ "error": { "code": code, "message": self.message, "remedy": self.remedy } })
        })
    }

    /// Prints the document for `--json`.
    pub(crate) fn print_json(&self) {
        match self.one_line {
            true => output::line(self.to_json().to_string()),
            false => output::json(&self.to_json()),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

/// An error with its causes in one line; a cause that the text repeats already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_ends_with_the_remedy_and_json_keeps_it_apart() {
        let failure = Failure::unreachable("no server at nats://x").remedy("start one");
        assert_eq!(failure.sentence(), "no server at nats://x; start one");
        assert_eq!(failure.to_json()["error"]["remedy"], "start one");
    }
}
