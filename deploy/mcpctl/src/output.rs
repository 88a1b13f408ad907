//! What is printed: documents, lines and tables on stdout, notes on stderr, colours on a terminal only.

mod line;
mod table;
mod words;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

pub(crate) use line::Line;
pub(crate) use table::{Cell, Table};
pub(crate) use words::{age, brief, bytes, utc};

/// What a text is painted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Quiet,
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Quiet => "2",
            Self::Strong => "1",
        }
    }
}

/// Prints the one document of `--json`.
pub(crate) fn json(document: &impl Serialize) {
    let text = serde_json::to_string_pretty(document).expect("documents have text keys only");
    line(text);
}

/// Prints a line of the result.
pub(crate) fn line(text: impl AsRef<str>) {
    // A reader that has gone away, such as `head`, has what it wanted.
    let _ = try_line(text);
}

/// Prints a line of the result; the error says that nobody reads any more.
pub(crate) fn try_line(text: impl AsRef<str>) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", text.as_ref())
}

/// Prints commands to try, each with what it is for, in two columns.
pub(crate) fn hints(hints: &[(String, &str)]) {
    let width = hints
        .iter()
        .map(|(command, _)| command.chars().count())
        .max()
        .unwrap_or_default();
    for (command, purpose) in hints {
        line(format!("  {command:width$}  # {purpose}"));
    }
}

/// Prints a line for the person at the terminal, which is no part of the result.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints why the command failed.
pub(crate) fn error(sentence: &str) {
    let prefix = match colours_on_stderr() {
        true => painted(Tone::Bad, "error:"),
        false => "error:".to_owned(),
    };
    note(format!("{prefix} {sentence}"));
}

/// Paints a text for stdout, where that shows colours.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    match has_colour(&io::stdout()) {
        true => painted(tone, text),
        false => text.to_owned(),
    }
}

fn painted(tone: Tone, text: &str) -> String {
    format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
}

/// This program as it was called, for hints that can be pasted: it may not be on PATH.
pub(crate) fn program() -> String {
    std::env::args_os().next().map_or_else(
        || "mcpctl".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Whether stderr is a terminal that can draw progress bars.
pub(crate) fn can_draw() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

/// Whether what is drawn on stderr may have colours.
pub(crate) fn colours_on_stderr() -> bool {
    has_colour(&io::stderr())
}

/// Colours need a terminal and nobody who objects (<https://no-color.org>).
fn has_colour(stream: &impl IsTerminal) -> bool {
    let objection = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !objection && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}
