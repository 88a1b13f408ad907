use std::time::Duration;

use mcp_runtime::McpError;

use crate::{
    StateRetry, Workflow, WorkflowContext, WorkflowState, WorkflowTransitionResult as Then,
};

async fn nothing(_: WorkflowContext, _: ()) -> Result<Then, McpError> {
    Ok(Then::stay())
}

fn work() -> WorkflowState {
    WorkflowState::run(nothing)
}

/// Whether each part stands in what is wrong with the definition; none for one that is right.
fn check(workflow: &Workflow, expected: &[&str]) {
    let mistakes = workflow.check().err().map(|error| error.mistakes);
    let mistakes = mistakes.unwrap_or_default();
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
    for part in expected {
        let found = mistakes.iter().any(|mistake| mistake.contains(part));
        assert!(found, "{part} is missing in {mistakes:?}");
    }
}

#[test]
fn definitions_are_checked_as_graphs() {
    let end = WorkflowState::end;
    check(
        &Workflow::new("w")
            .state("a", work().to("b"))
            .state("b", end()),
        &[],
    );
    check(&Workflow::new("w"), &["no states"]);
    check(
        &Workflow::new("w")
            .state("a", work().to("nowhere").to("b"))
            .state("b", end()),
        &["`a` leads to `nowhere`"],
    );
    check(
        &Workflow::new("w")
            .state("a", work().to("b"))
            .state("b", end())
            .state("c", end()),
        &["`c` is unreachable"],
    );
    check(
        &Workflow::new("w")
            .state("a", work().to("b").to("loop"))
            .state("loop", work().to("loop"))
            .state("b", end()),
        &["`loop` has no way to an end"],
    );
    check(&Workflow::new("w").state("a", work().completes()), &[]);
    check(
        &Workflow::new("w")
            .state("a", work().to("b"))
            .state("a", end())
            .state("b", end()),
        &["two states `a`"],
    );
    check(
        &Workflow::new("w").starts_at("z").state("a", end()),
        &["starts at `z`"],
    );
    // An error state is reached by failing, and counts as a way to an end.
    check(
        &Workflow::new("w")
            .on_error("sorry")
            .state("a", work())
            .state("sorry", end()),
        &[],
    );
}

#[test]
fn states_are_checked_one_by_one() {
    let end = WorkflowState::end;
    check(
        &Workflow::new("w")
            .state("a", WorkflowState::wait_for("go").to("b"))
            .state("b", end()),
        &["leads nowhere"],
    );
    check(
        &Workflow::new("w")
            .state("a", work().to("b"))
            .state("b", end().to("a")),
        &["`b` is an end, but leads on"],
    );
    check(
        &Workflow::new("Bad Name").version("1..2").state("a", end()),
        &["`Bad Name`", "version `1..2`"],
    );
    async fn undo(_: WorkflowContext, _: ()) -> Result<(), McpError> {
        Ok(())
    }
    check(
        &Workflow::new("w")
            .state(
                "a",
                WorkflowState::wait_for("go").then("b").compensate(undo),
            )
            .state("b", end()),
        &["`a` runs nothing that could be compensated"],
    );
    check(
        &Workflow::new("w")
            .version("2")
            .migrate_from("2", |workflow, (): ()| Ok(workflow))
            .state("a", end()),
        &["migrate from itself"],
    );
    check(
        &Workflow::new("w")
            .state("a", WorkflowState::wait_for_children())
            .state("b", end()),
        &[
            "`a` waits for something that leads nowhere",
            "`b` is unreachable",
            "`a` has no way to an end",
        ],
    );
    let backwards = StateRetry::times(1)
        .delay(Duration::from_secs(5))
        .max_delay(Duration::from_secs(1));
    check(
        &Workflow::new("w")
            .state("a", work().to("b").retry(backwards))
            .state("b", end()),
        &["the retries of `a`"],
    );
}
