//! Ours against raw async-nats: the same work in the same run, on the same server, with the same durability.
//!
//! `make bench` runs it; `QUICK=1` for a first look, `FULL=1` for every row, and names after `--` to run only the rows
//! that begin so. Prints a table and writes `target/bench.json`. What the rows are stands in
//! `docs/benchmarks/README.md`. A group of rows is a file in `rows`, what they are compared with is in `raw`.

mod flow;
mod load;
mod raw;
mod rounds;
mod rows;
mod server;
mod settings;
mod table;

use std::time::Instant;

use rounds::Rounds;
use settings::Settings;

/// What any part of a benchmark fails with.
type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    if rows::tracing::is_side() {
        return rows::tracing::run_side().await;
    }
    let settings = Settings::from_environment();
    println!("{settings}\n");
    let began = Instant::now();
    let mut rounds = Rounds::new(settings);
    rows::commands::run(&mut rounds).await?;
    rows::events::run(&mut rounds).await?;
    rows::workflows::run(&mut rounds).await?;
    rows::tracing::run(&mut rounds).await?;
    let settings = rounds.settings().clone();
    let rows = rounds.into_rows();
    table::print(&rows);
    if let Some(path) = table::write_json(&rows)? {
        println!(
            "\n{} rows in {:.0?}, also in {}",
            rows.len(),
            began.elapsed(),
            path.display()
        );
    }
    // Last: its processes are built and started first, and it has no rows.
    rows::overload::run(&settings).await
}
