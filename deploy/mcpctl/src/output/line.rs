//! A line of a screen: pieces with a tone each, cut where the screen ends.

use super::{Tone, paint};

/// A line that is not wider than the place it is shown in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Option<Tone>, String)>,
}

impl Line {
    /// A line of one piece.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self::default().then(text)
    }

    /// A line of one painted piece.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self::default().then_toned(tone, text)
    }

    /// Adds a piece.
    pub(crate) fn then(mut self, text: impl Into<String>) -> Self {
        self.pieces.push((None, text.into()));
        self
    }

    /// Adds a painted piece.
    pub(crate) fn then_toned(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.pieces.push((Some(tone), text.into()));
        self
    }

    /// How many columns it takes.
    #[cfg(test)]
    pub(crate) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| columns(text)).sum()
    }

    /// The line in at most so many columns; painted where stdout shows colours.
    pub(crate) fn shown(&self, width: usize) -> String {
        let mut left = width;
        let mut shown = String::new();
        for (tone, text) in &self.pieces {
            let text: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(left)
                .collect();
            left -= columns(&text);
            match tone {
                Some(tone) if !text.is_empty() => shown.push_str(&paint(*tone, &text)),
                _ => shown.push_str(&text),
            }
        }
        shown
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_where_the_screen_does() {
        let line = Line::of("agents ").then_toned(Tone::Strong, "director\u{1b}[2J");
        assert_eq!(
            line.shown(80),
            "agents director[2J",
            "nobody's name moves the cursor"
        );
        assert_eq!(line.shown(9), "agents di");
        assert_eq!(line.shown(0), "");
        assert_eq!(Line::of("ä").then("b").width(), 2);
    }
}
