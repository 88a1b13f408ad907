//! Rows of figures: medians, ratio and spread; as a table, and as JSON for tools.

use std::{fmt, fs, path::PathBuf};

use mcp_tests::workspace;
use serde::Serialize;

use crate::Failed;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// More is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Half of all are done in this time; less is better.
    #[serde(rename = "µs p50")]
    MicrosP50,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    row: String,
    /// The median of the rounds.
    ours: f64,
    /// The median of the rounds.
    raw: f64,
    /// The median of the rounds' ratios, which is not the ratio of the medians: both sides of one round saw the same machine.
    ratio: f64,
    unit: Unit,
    /// How far apart the ratios of the rounds are: highest less lowest, as a part of the median.
    spread: f64,
}

impl Row {
    /// A row of the rounds' pairs of ours and raw.
    pub(crate) fn of(row: &str, unit: Unit, pairs: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, raw)| ours / raw).collect();
        let ratio = median(ratios.clone());
        let (least, most) = ratios
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), ratio| {
                (least.min(*ratio), most.max(*ratio))
            });
        Self {
            row: row.to_owned(),
            ours: median(pairs.iter().map(|pair| pair.0).collect()),
            raw: median(pairs.iter().map(|pair| pair.1).collect()),
            ratio,
            unit,
            spread: (most - least) / ratio,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::PerSecond => "/s",
            Unit::MicrosP50 => "µs p50",
        };
        write!(
            f,
            "{:<58} {:>8.0} {:>8.0} {:<6} {:>6.2} {:>5.0} %",
            self.row,
            self.ours,
            self.raw,
            unit,
            self.ratio,
            self.spread * 100.0
        )
    }
}

/// Prints all rows, aligned.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:<58} {:>8} {:>8} {:<6} {:>6} {:>7}",
        "row", "ours", "raw", "unit", "ratio", "spread"
    );
    for row in rows {
        println!("{row}");
    }
}

/// Writes `target/bench.json`; nothing when there are no rows.
pub(crate) fn write_json(rows: &[Row]) -> Result<Option<PathBuf>, Failed> {
    if rows.is_empty() {
        return Ok(None);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let folder = target.map_or_else(|| workspace().join("target"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    let path = folder.join("bench.json");
    fs::write(&path, serde_json::to_vec_pretty(rows)?)?;
    Ok(Some(path))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
