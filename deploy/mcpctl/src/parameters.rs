//! Parameters and event data from the command line: JSON in place, from a file, or from stdin.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Where the JSON comes from; nothing at all means the empty map.
#[derive(Debug, Default, Args)]
pub(crate) struct Parameters {
    /// The parameters as JSON (default: {})
    #[arg(
        short = 'p',
        long = "params",
        value_name = "JSON",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    inline: Option<String>,
    /// A file with the parameters as JSON; `-` reads stdin
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Parameters {
    /// Reads and parses what was given.
    pub(crate) fn read(&self) -> Result<Value, Failure> {
        match (&self.inline, &self.file) {
            (Some(text), _) => parse("-p", text),
            (None, Some(path)) if path == Path::new("-") => {
                let mut text = String::new();
                io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| Failure::io("cannot read stdin", &error))?;
                parse("stdin", &text)
            }
            (None, Some(path)) => {
                let name = path.display().to_string();
                let text = fs::read_to_string(path)
                    .map_err(|error| Failure::io(format!("cannot read {name}"), &error))?;
                parse(&name, &text)
            }
            (None, None) => Ok(Value::Object(Map::new())),
        }
    }
}

fn parse(place: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let failure = Failure::usage(format!("{place} is not valid JSON: {error}"));
        match looks_like_a_word(text) {
            true => failure.remedy(format!("a text needs quotes: -p '\"{}\"'", text.trim())),
            false => failure,
        }
    })
}

/// The most common mistake: a bare word, or a text whose quotes the shell has taken away.
fn looks_like_a_word(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || " _-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &str) -> Result<Value, Failure> {
        Parameters {
            inline: Some(text.to_owned()),
            file: None,
        }
        .read()
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let sentence = inline("{\"a\": }").unwrap_err().sentence();
        assert!(sentence.contains("line 1 column 7"), "{sentence}");
        let sentence = inline("Ada").unwrap_err().sentence();
        assert!(sentence.ends_with("-p '\"Ada\"'"), "{sentence}");
    }

    #[test]
    fn nothing_is_the_empty_map_and_any_value_may_be_given() {
        assert_eq!(Parameters::default().read().unwrap(), serde_json::json!({}));
        assert_eq!(inline("-7").unwrap(), serde_json::json!(-7));
        assert_eq!(inline("\"Ada\"").unwrap(), serde_json::json!("Ada"));
    }
}
