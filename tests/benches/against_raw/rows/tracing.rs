//! What tracing costs: the same round trips with every trace exported, with every tenth, and with none.
//!
//! There is one tracer in a process, so each side is a process of its own, configured by the standard variables as any agent
//! is: `side.rs`. All of them live from the first round to the last and take turns; who has no turn does nothing.

mod collector;
mod side;

use std::time::Duration;

use tokio::sync::Mutex;

use crate::{
    Failed,
    rounds::Rounds,
    server::{Server, Sync},
    table::Unit,
};

use collector::Collector;
use side::Side;
pub(crate) use side::is_asked_for as is_side;
pub(crate) use side::run as run_side;

/// Times the rounds of other rows: a tenth of all traces costs a few per cent, and one round may be a fifth off.
const TIMES: usize = 4;

/// Commands under way at once: enough that both cores are busy, so that each microsecond shows.
const PARALLEL: usize = 256;

pub(crate) async fn run(rounds: &mut Rounds) -> Result<(), Failed> {
    if !rounds.settings().wants_some("tracing") {
        return Ok(());
    }
    let server = Server::start(Sync::Cached).await?;
    let collector = Collector::start().await?;
    rounds.times(TIMES);
    let off = Mutex::new(Side::start(server.url(), "off", &[]).await?);
    for (percent, ratio) in [(10, "0.1"), (100, "1")] {
        let sampled = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", ratio),
            // Traces alone are measured.
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ];
        let name = format!("sampled{percent}");
        let traced = Mutex::new(Side::start(server.url(), &name, &sampled).await?);
        let name = format!("tracing at {percent} % against none, {PARALLEL} in flight");
        let ours = async |window: Duration| traced.lock().await.rate(window).await;
        let none = async |window: Duration| off.lock().await.rate(window).await;
        let before = collector.bytes();
        rounds.row(&name, Unit::PerSecond, ours, none).await?;
        traced.into_inner().end().await?;
        // Tracing that exports nothing would cost nothing.
        if rounds.settings().wants(&name) && collector.bytes() == before {
            return Err(format!("{name}: no trace has arrived").into());
        }
    }
    rounds.times(1);
    off.into_inner().end().await
}
