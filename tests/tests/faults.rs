//! The short cells of the matrix of faults; `make faults` plays all of it.

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

/// What the matrix kills agents at is every place where one can be killed.
#[test]
fn every_failpoint_is_tried() {
    let mut known = std::collections::BTreeSet::new();
    for folder in ["runtime/src", "workflow-engine/src"] {
        failpoints_in(&mcp_tests::workspace().join(folder), &mut known);
    }
    let tried = mcp_tests::faults::STEPS.map(str::to_owned);
    assert_eq!(known, tried.into());
}

fn failpoints_in(folder: &std::path::Path, known: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            failpoints_in(&path, known);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let named = text.split("failpoint(\"").skip(1);
        known.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
}
