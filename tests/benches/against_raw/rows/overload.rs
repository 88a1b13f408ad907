//! The overload scenario: five times what an agent can do, by four senders. There is no raw side to compare with.
//!
//! What is asked of it stands in `docs/benchmarks/README.md`; `cargo run --release -p mcp-tests --bin overload` runs it alone,
//! and for longer.

use std::time::Duration;

use mcp_tests::Overload;

use crate::{
    Failed,
    server::{Server, Sync},
    settings::{Scale, Settings},
};

pub(crate) async fn run(settings: &Settings) -> Result<(), Failed> {
    if !settings.wants("overload") {
        return Ok(());
    }
    let (settle, measure) = match settings.scale {
        Scale::Quick => (3, 5),
        Scale::Main => (5, 20),
        Scale::Full => (5, 60),
    };
    let kinds: &[bool] = match settings.scale {
        Scale::Quick => &[false],
        Scale::Main | Scale::Full => &[false, true],
    };
    for realtime in kinds.iter().copied() {
        let server = Server::start(Sync::Cached).await?;
        let scenario = Overload {
            realtime,
            settle: Duration::from_secs(settle),
            measure: Duration::from_secs(measure),
            ..Overload::default()
        };
        let report = scenario
            .run(server.url())
            .await
            .map_err(|error| error.to_string())?;
        let kind = if realtime { "realtime" } else { "durable" };
        println!(
            "\noverload, {kind}: of {:.0}/s that can be done, {report}",
            scenario.possible(1)
        );
    }
    Ok(())
}
