//! Rounds: both sides in turn, so that whatever else happens to the machine happens to both.

use std::time::Duration;

use crate::{
    Failed,
    settings::Settings,
    table::{Row, Unit},
};

/// The rows measured so far, and how the next ones are.
pub(crate) struct Rounds {
    settings: Settings,
    rows: Vec<Row>,
    /// How many times as many rounds the next rows have.
    times: usize,
}

impl Rounds {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            rows: Vec::new(),
            times: 1,
        }
    }

    /// From now on there are so many times the rounds: for rows whose two sides differ by less than two rounds of one do.
    pub(crate) fn times(&mut self, times: usize) {
        self.times = times;
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Measures one row: one round of each side that does not count, then the rounds, each beginning with the other side
    /// than the one before.
    pub(crate) async fn row(
        &mut self,
        name: &str,
        unit: Unit,
        mut ours: impl AsyncFnMut(Duration) -> Result<f64, Failed>,
        mut raw: impl AsyncFnMut(Duration) -> Result<f64, Failed>,
    ) -> Result<(), Failed> {
        if !self.settings.wants(name) {
            return Ok(());
        }
        let window = self.settings.window;
        let failed = |side: &str, error: Failed| Failed::from(format!("{name}, {side}: {error}"));
        ours(window / 4)
            .await
            .map_err(|error| failed("ours", error))?;
        raw(window / 4)
            .await
            .map_err(|error| failed("raw", error))?;
        let mut pairs = Vec::new();
        for round in 0..self.settings.rounds * self.times {
            let pair = if round % 2 == 0 {
                let ours = ours(window).await;
                (ours, raw(window).await)
            } else {
                let raw = raw(window).await;
                (ours(window).await, raw)
            };
            let ours = pair.0.map_err(|error| failed("ours", error))?;
            pairs.push((ours, pair.1.map_err(|error| failed("raw", error))?));
        }
        let row = Row::of(name, unit, &pairs);
        println!("{row}");
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}
