//! The short cells of the matrix of faults; `make faults` plays all of it.

use std::collections::BTreeSet;

#[cfg(debug_assertions)]
mod cells {
    use std::time::Duration;

    use futures_util::future::join_all;
    use mcp_tests::{
        faults::{Cell, Extent, Failed, run},
        workspace,
    };
    use tokio::time::timeout;

    /// Each cell waits mostly for a lease to pass, so all are played at once.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_must_hold_holds_in_the_short_cells() -> Result<(), Failed> {
        let seed = rand::random::<u32>().into();
        let folder = workspace().join("target/faults");
        let cells = Cell::quick();
        let played = cells
            .iter()
            .map(|cell| run(*cell, seed, Extent::Quick, &folder));
        for report in timeout(Duration::from_secs(240), join_all(played)).await? {
            let report = report?;
            println!("{report}");
            assert!(
                report.violations.is_empty(),
                "{}, seed {seed}: {:#?}\n{}",
                report.cell,
                report.violations,
                report.history.display()
            );
            assert!(report.went_well > 20, "{report}");
        }
        Ok(())
    }
}

/// Steps that the load of the matrix does not come to; `workflows` has an engine die at each of them.
const OUT_OF_ITS_WAY: [&str; 6] = [
    "engine.exited",
    "engine.before_timer",
    "engine.timer",
    "engine.parked",
    "engine.giving_back",
    "engine.buried",
];

/// What the matrix kills agents at is every other place where one can be killed.
#[test]
fn every_failpoint_is_tried() {
    let known = ["runtime/src", "workflow-engine/src"].map(mcp_tests::failpoints_in);
    let known: BTreeSet<String> = known.into_iter().flatten().collect();
    let tried = mcp_tests::faults::STEPS.into_iter().chain(OUT_OF_ITS_WAY);
    assert_eq!(known, tried.map(str::to_owned).collect());
}
