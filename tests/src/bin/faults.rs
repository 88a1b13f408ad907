//! Plays the matrix of faults, one cell after the other, and prints a line for each.
//!
//! `faults [SEED [CELL…]]`: `faults 7 F3` replays the cells F3 of seed 7, `F3x1` those on one server, `F3x3` those on three. `QUICK=1` plays the short ones. The exit code
//! is 1 when something does not hold; the histories lie in `target/faults`.

use std::{env, process::ExitCode};

use mcp_tests::{
    faults::{Cell, Extent, Failed, NotHere, Report, chain, run},
    workspace,
};

#[tokio::main]
async fn main() -> Result<ExitCode, Failed> {
    let mut wanted: Vec<String> = env::args().skip(1).collect();
    let seed = match wanted.first().and_then(|text| text.parse().ok()) {
        Some(seed) => {
            wanted.remove(0);
            seed
        }
        None => rand::random::<u32>().into(),
    };
    let (extent, mut cells) = match env::var("QUICK").unwrap_or_default().as_str() {
        "" => (Extent::Full, Cell::all()),
        _ => (Extent::Quick, Cell::quick()),
    };
    if !wanted.is_empty() {
        cells = Cell::all();
        cells.retain(|cell| wanted.iter().any(|name| cell.is_called(name)));
    }
    if cells.is_empty() {
        return Err(format!("no cell is called {}: they are F1 to F11", wanted.join(" ")).into());
    }
    println!("seed {seed}\n{}", Report::header());
    let folder = workspace().join("target/faults");
    let mut holds = true;
    for cell in cells {
        let report = match run(cell, seed, extent, &folder).await {
            Ok(report) => report,
            Err(error) if error.is::<NotHere>() => {
                println!("{cell:<38} not played: {error}");
                continue;
            }
            Err(error) => return Err(format!("{cell}: {}", chain(&*error)).into()),
        };
        println!("{report}");
        for violation in report.violations.iter().take(10) {
            println!("    {violation}");
        }
        if !report.violations.is_empty() {
            holds = false;
            println!("    history: {}", report.history.display());
        }
    }
    Ok(match holds {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
