//! Migrations run as they would, on workflows that wait.

use mcp_runtime::McpError;

use crate::{
    Workflow, WorkflowState, WorkflowStatus,
    testing::{WorkflowTest, WorkflowTestError},
};

fn first() -> Workflow {
    Workflow::new("order")
        .state("charge", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
}

/// Counts in cents, and takes no gifts.
fn second() -> Workflow {
    Workflow::new("order")
        .version("2")
        .state("pay", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
        .migrate_from("1", |workflow, coins: u32| match coins {
            0 => Err(McpError::permanent("A_GIFT")),
            coins => Ok(workflow.to("pay").with(&(coins * 100))),
        })
}

#[tokio::test]
async fn a_migration_takes_state_and_data_over_whatever_dies() {
    let test = WorkflowTest::new(first())
        .version(second())
        .data(&7)
        .migrate("charge", "2")
        .signal("pay", "paid", &());
    let run = test.crash_at_every_step().await.unwrap().run;
    run.assert_path(&["charge", "pay", "sent"])
        .assert_status(WorkflowStatus::Completed);
    assert_eq!(run.data::<u32>().unwrap(), 700);
    assert_eq!(run.record.version, "2");
}

#[tokio::test]
async fn what_cannot_be_migrated_is_told() {
    let refused = async |coins: u32, version: &str| {
        let test = WorkflowTest::new(first()).version(second()).data(&coins);
        let error = test.migrate("charge", version).run().await.unwrap_err();
        let WorkflowTestError::Refused { state, error } = error else {
            panic!("{error}")
        };
        assert_eq!(state, "charge");
        error.code
    };
    assert_eq!(refused(0, "2").await, "A_GIFT");
    assert_eq!(refused(7, "3").await, "STATE_MISMATCH");
    let twice = WorkflowTest::new(first()).version(first()).run().await;
    assert!(matches!(twice, Err(WorkflowTestError::Invalid { .. })));
    let of_another = Workflow::<u8>::new("order").state("sent", WorkflowState::end());
    let of_another = WorkflowTest::with_state(of_another, 7).version(second());
    let error = of_another.run().await.unwrap_err().to_string();
    assert!(error.contains("the state of one agent"), "{error}");
}
