//! Tables with aligned columns.

use super::{Tone, paint};

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A painted field.
    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: None,
        }
    }
}

/// Rows under a header, each column as wide as its widest field.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many fields as the header has.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.header.len(), "a row has a field for each column");
        self.rows.push(cells.into());
    }

    /// The table as text, without a line end after the last row.
    pub(crate) fn render(&self) -> String {
        let header = self
            .header
            .iter()
            .map(|title| Cell::toned(Tone::Quiet, title.to_uppercase()));
        let header: Vec<Cell> = header.collect();
        let widths = self.widths();
        let lines = std::iter::once(&header)
            .chain(&self.rows)
            .map(|row| render_row(row, &widths));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let fields = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| length(&cell.text));
            fields
                .max()
                .unwrap_or_default()
                .max(length(self.header[column]))
        };
        (0..self.header.len()).map(width).collect()
    }
}

/// Padded before it is painted: colour codes have no width.
fn render_row(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let text = match cell.tone {
            Some(tone) => paint(tone, &cell.text),
            None => cell.text.clone(),
        };
        line.push_str(&text);
        if column + 1 < widths.len() {
            line.push_str(&" ".repeat(width - length(&cell.text) + 2));
        }
    }
    line.trim_end().to_owned()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        let mut table = Table::new(&["agent", "n"]);
        table.row(["probe".into(), "1".into()]);
        table.row(["director_agent".into(), "20".into()]);
        // Tests have no terminal, hence no colours.
        assert_eq!(
            table.render(),
            "AGENT           N\nprobe           1\ndirector_agent  20"
        );
    }
}
