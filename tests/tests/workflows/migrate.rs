//! `mcpctl workflow migrate`, from outside, of workflows that wait and of one in the middle of a state.

use std::time::Duration;

use mcp_agent_sdk::{
    McpError, RunningAgent, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then,
};
use mcp_tests::{Finished, eventually, run};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::path,
};

const LIMIT: Duration = Duration::from_secs(60);

type Ctx = WorkflowContext<Journal>;

/// A slow order is picked until somebody says `go`.
async fn pick(ctx: Ctx, order: Value) -> Result<Then, McpError> {
    ctx.state().note(format!("pick {}", ctx.workflow_id()));
    if order["slow"] == true {
        eventually("somebody lets it go", || async {
            ctx.state().lines().iter().any(|line| line == "go")
        })
        .await;
    }
    Ok(Then::to("gate"))
}

fn first() -> Workflow<Journal> {
    Workflow::new("shop")
        .version("1")
        .state("pick", WorkflowState::run(pick).to("gate"))
        .state("gate", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
}

/// Calls the gate `till`, counts in cents, takes no gifts, and stumbles over debts.
fn second() -> Workflow<Journal> {
    Workflow::new("shop")
        .version("2")
        .state("till", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
        .migrate_from("1", |workflow, order: Value| {
            let coins = order["coins"].as_i64();
            let no_price = || McpError::permanent("A_GIFT").message("a gift has no price");
            let coins = u64::try_from(coins.ok_or_else(no_price)?).unwrap();
            Ok(workflow.to("till").with(&json!({"cents": coins * 100})))
        })
}

struct Shop {
    author: Author,
    _engine: RunningAgent,
}

impl Shop {
    async fn open() -> Result<Self, Box<dyn std::error::Error>> {
        let author = Author::new().await?;
        let _engine = author.engines(vec![second(), first()]).await?;
        Ok(Self { author, _engine })
    }

    /// An order of version 1, the one brought last.
    async fn order(&self, id: &str, data: Value) -> TestResult {
        let create = self.author.workflows.create_workflow("shop", None, data);
        create.id(id).await?;
        Ok(())
    }

    async fn migrate(&self, id: &str, version: &str) -> Finished {
        let url = self.author.broker.url();
        run(url, &["workflow", "migrate", id, version, "--json"]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_runs_is_finished_by_its_version_and_then_migrated() -> TestResult {
    bounded(LIMIT, async {
        let shop = Shop::open().await?;
        shop.order("w", json!({"coins": 7, "slow": true})).await?;
        let author = &shop.author;
        let asked = async {
            let asked = author
                .until("w", "the migration waits for the state", |record| {
                    record.inbox.len() == 1
                })
                .await;
            assert_eq!(
                (asked.version.as_str(), asked.state.as_str()),
                ("1", "pick")
            );
            author.journal.note("go");
        };
        let (migrated, ()) = tokio::join!(shop.migrate("w", "2"), asked);
        assert_eq!(migrated.code, 0, "{migrated:?}");
        let record = migrated.json();
        assert_eq!(
            (&record["version"], &record["state"]),
            (&json!("2"), &json!("till"))
        );
        assert_eq!(record["data"], json!({"cents": 700}));
        author
            .workflows
            .signal_workflow("w", "paid", json!({}))
            .await?;
        let done = author.until_status("w", WorkflowStatus::Completed).await;
        assert_eq!(path(&done), ["pick", "gate", "till", "sent"]);
        assert_eq!(author.journal.lines(), ["pick w", "go"], "it ran once");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_be_says_why_and_changes_nothing() -> TestResult {
    bounded(LIMIT, async {
        let shop = Shop::open().await?;
        let workflows = &shop.author.workflows;
        for (id, data) in [
            ("gift", json!({})),
            ("debt", json!({"coins": -1})),
            ("sent", json!({"coins": 1})),
        ] {
            shop.order(id, data).await?;
            shop.author.until_status(id, WorkflowStatus::Waiting).await;
        }
        workflows.signal_workflow("sent", "paid", json!({})).await?;
        shop.author
            .until_status("sent", WorkflowStatus::Completed)
            .await;
        for (id, version, code, says) in [
            ("gift", "2", "A_GIFT", "a gift has no price"),
            (
                "debt",
                "2",
                "HANDLER_PANICKED",
                "the migration to version 2 panicked",
            ),
            (
                "gift",
                "9",
                "STATE_MISMATCH",
                "no engine has version 9 of `shop`",
            ),
            ("sent", "2", "WORKFLOW_ENDED", "the workflow is completed"),
            (
                "nobody",
                "2",
                "NO_SUCH_WORKFLOW",
                "there is no workflow `nobody`",
            ),
        ] {
            let before = workflows.get_workflow(id).await?;
            let refused = shop.migrate(id, version).await;
            assert_eq!(refused.code, 1, "{refused:?}");
            assert_eq!(refused.json()["error"]["code"], code, "{refused:?}");
            assert!(refused.stderr.contains(says), "{refused:?}");
            let after = workflows.get_workflow(id).await?;
            assert_eq!(
                before.map(|record| record.epoch),
                after.map(|record| record.epoch)
            );
        }
        // To where it is already: nothing to do, and no mistake.
        let same = shop.migrate("gift", "1").await;
        assert_eq!((same.code, &same.json()["version"]), (0, &json!("1")));
        Ok(())
    })
    .await
}
