//! `soak [SECONDS [SEED]]`: mixed load and random faults for so long (600 s unless said otherwise), a line every half minute, and a
//! judgement at the end. The exit code is 1 when something does not hold or has grown.

use std::{env, process::ExitCode, time::Duration};

use mcp_tests::{
    faults::{Failed, Report, soak},
    workspace,
};

#[tokio::main]
async fn main() -> Result<ExitCode, Failed> {
    let mut arguments = env::args().skip(1);
    let seconds = match arguments.next() {
        Some(text) => text
            .parse()
            .map_err(|_| format!("`{text}` is no number of seconds"))?,
        None => 600,
    };
    let seed = match arguments.next() {
        Some(text) => text.parse().map_err(|_| format!("`{text}` is no seed"))?,
        None => rand::random::<u32>().into(),
    };
    println!("seed {seed}");
    let folder = workspace().join("target/faults");
    let time = Duration::from_secs(seconds);
    let soaked = soak(
        seed,
        time,
        &folder,
        |elapsed, operations, faults, vitals| {
            let seconds = elapsed.as_secs();
            println!("{seconds:>6} s {operations:>7} operations {faults:>4} faults  {vitals}");
        },
    )
    .await?;
    println!("before   {}\nafter    {}", soaked.before, soaked.after);
    println!("{}\n{}", Report::header(), soaked.report);
    let broken = soaked.report.violations.iter().take(10);
    broken.for_each(|violation| println!("    {violation}"));
    soaked
        .grown
        .iter()
        .for_each(|grown| println!("    grown: {grown}"));
    if soaked.report.violations.is_empty() && soaked.grown.is_empty() {
        println!("nothing was lost, nothing has grown");
        return Ok(ExitCode::SUCCESS);
    }
    println!("    history: {}", soaked.report.history.display());
    Ok(ExitCode::FAILURE)
}
