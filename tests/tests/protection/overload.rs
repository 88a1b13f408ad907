//! The overload scenario, shorter than in the benchmark and with bounds that a busy machine can hold.

use std::time::Duration;

use mcp_agent_sdk::TestBroker;
use mcp_tests::{Overload, Report};

use super::TestResult;

fn short(realtime: bool) -> Overload {
    Overload {
        realtime,
        settle: Duration::from_secs(5),
        measure: Duration::from_secs(8),
        ..Overload::default()
    }
}

fn check(scenario: &Overload, report: &Report) {
    println!("{report}");
    let [critical, high, normal, low] = report.lanes;
    assert!(
        report.goodput > 0.75 * scenario.possible(1),
        "goodput: {report}"
    );
    assert!(report.least_share() >= 0.4, "shares: {report}");
    assert!(critical.share() > 0.85, "critical: {report}");
    assert!(critical.share() > high.share(), "order: {report}");
    assert!(
        high.share() > normal.share().max(low.share()),
        "order: {report}"
    );
    assert!(low.done > 0 && normal.done > 0, "starved: {report}");
    let idle = report.idle_critical_p99.unwrap_or_default();
    assert!(critical.p99 < 6 * idle, "critical p99: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_agent_goes_on_working_and_critical_commands_pass() -> TestResult {
    for realtime in [false, true] {
        let broker = TestBroker::start().await?;
        let scenario = short(realtime);
        check(&scenario, &scenario.run(broker.url()).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_follows_a_second_instance_that_comes_and_goes() -> TestResult {
    let (broker, scenario) = (TestBroker::start().await?, short(false));
    let _first = scenario.instance(broker.url()).await;
    let running = scenario.begin(broker.url()).await?;
    tokio::time::sleep(scenario.settle).await;
    let follows = Duration::from_secs(5);
    let mut second = running.grow().await;
    tokio::time::sleep(follows).await;
    let two = running.measure(Duration::from_secs(4)).await;
    second.terminate().await;
    tokio::time::sleep(follows).await;
    let one = running.measure(Duration::from_secs(4)).await;
    println!(
        "two instances: {two}\none again: {one}\n{:?}",
        running.by_second()
    );
    running.end().await;
    assert!(two.goodput > 0.75 * scenario.possible(2), "{two}");
    assert!(one.goodput > 0.75 * scenario.possible(1), "{one}");
    Ok(())
}
