//! A workflow stays on the version it began with: parked without it, going on when it comes, moved only when asked.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use mcp_agent_sdk::{
    McpError, RunningAgent, Workflow, WorkflowContext, WorkflowFilter, WorkflowState,
    WorkflowStatus, WorkflowTransitionResult as Then,
    runtime::{DeadLetterFilter, DeadLetters},
};
use serde_json::{Value, json};

use crate::{
    TestResult,
    author::{Author, Journal},
    bounded,
    scene::path,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Workflows of the rolling change.
const LOAD: usize = 300;

/// `pick` → `gate` → `pack` → `sent`; each state that runs says which version's code it is.
fn definition(version: &'static str) -> Workflow<Journal> {
    let noting = move |to: &'static str| {
        move |ctx: WorkflowContext<Journal>, _: Value| async move {
            let (id, state) = (ctx.workflow_id(), ctx.current_state());
            ctx.state().note(format!("{id} {version} {state}"));
            Ok::<_, McpError>(Then::to(to))
        }
    };
    Workflow::new("shop")
        .version(version)
        .state("pick", WorkflowState::run(noting("gate")).to("gate"))
        .state("gate", WorkflowState::wait_for("paid").then("pack"))
        .state("pack", WorkflowState::run(noting("sent")).to("sent"))
        .state("sent", WorkflowState::end())
}

/// Version 3 calls the gate `till`, counts in cents, and takes no gifts.
fn renamed() -> Workflow<Journal> {
    Workflow::new("shop")
        .version("3")
        .state("till", WorkflowState::wait_for("paid").then("sent"))
        .state("sent", WorkflowState::end())
        .migrate_from("1", |workflow, order: Value| {
            let Some(coins) = order["coins"].as_u64() else {
                return Err(McpError::permanent("A_GIFT").message("a gift has no price"));
            };
            Ok(workflow.to("till").with(&json!({"cents": coins * 100})))
        })
}

async fn wait_at_the_gate(author: &Author, id: &str, data: Value) -> TestResult {
    let create = author.workflows.create_workflow("shop", None, data);
    create.id(id).await?;
    author.until_status(id, WorkflowStatus::Waiting).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_without_its_version_is_parked_and_goes_on_when_that_comes() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let first = author.engine(definition("1")).await?;
        for id in ["a", "b"] {
            wait_at_the_gate(&author, id, json!({})).await?;
        }
        first.drain().await;
        let _second = author.engine(definition("2")).await?;
        for id in ["a", "b"] {
            // Nobody can take it in: it waits in the inbox, and so does who asks.
            let told = author.workflows.signal_workflow(id, "paid", json!({}));
            assert!(told.timeout(Duration::from_millis(300)).await.is_err());
            let parked = author.until_status(id, WorkflowStatus::Parked).await;
            let reason = parked.park_reason.as_deref().unwrap_or_default();
            assert!(
                reason.contains("no engine has version 1 of `shop`"),
                "{reason}"
            );
        }
        let again = author.engine(definition("1")).await?;
        for id in ["a", "b"] {
            let done = author.until_status(id, WorkflowStatus::Completed).await;
            assert_eq!(path(&done), ["pick", "gate", "pack", "sent"]);
            assert_eq!((done.version.as_str(), done.park_reason), ("1", None));
        }
        check_versions(&author, &[("a", "1"), ("b", "1")]);
        // Whoever comes later finds nothing left to wake.
        again.drain().await;
        let _again = author.engine(definition("1")).await?;
        wait_at_the_gate(&author, "c", json!({})).await?;
        author.workflows.stop_workflow("c").await?;
        Ok(())
    })
    .await
}

/// The server has forgotten who is there, as after a restart: whoever parks a workflow then finds no engine that has its version,
/// and that engine does not come anew, but looks again after a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_parked_while_its_engine_was_not_seen_goes_on() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _first = author.engine(definition("1")).await?;
        let ids: Vec<String> = (0..8).map(|number| format!("w{number}")).collect();
        for id in &ids {
            wait_at_the_gate(&author, id, json!({})).await?;
        }
        let _second = author.engine(definition("2")).await?;
        let agents = author
            .client
            .jetstream()
            .get_stream("KV_mcp_agents")
            .await?;
        agents.purge().await?;
        let signal = |id: &String| {
            let signal = author.workflows.signal_workflow(id, "paid", json!({}));
            tokio::spawn(async move { signal.await })
        };
        let signals: Vec<_> = ids.iter().map(signal).collect();
        mcp_tests::eventually("one of them is parked", || async {
            let parked = WorkflowFilter::default().status(WorkflowStatus::Parked);
            let found = author.workflows.list_workflows(&parked).await;
            found.is_ok_and(|found| !found.is_empty())
        })
        .await;
        for (id, signal) in ids.iter().zip(signals) {
            author.until_status(id, WorkflowStatus::Completed).await;
            drop(signal.await?);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_takes_state_and_data_over_or_leaves_both() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let _engine = author.engines(vec![definition("1"), renamed()]).await?;
        let workflows = &author.workflows;
        for (id, data) in [("paid", json!({"coins": 7})), ("gift", json!({}))] {
            let create = workflows.create_workflow("shop", None, data).version("1");
            create.id(id).await?;
            author.until_status(id, WorkflowStatus::Waiting).await;
        }
        let before = workflows.get_workflow("gift").await?.expect("it is there");
        let refused = workflows.migrate_workflow("gift", "3").await;
        let refused = refused.expect_err("it has no price");
        assert_eq!(refused.code(), "A_GIFT");
        let after = workflows.get_workflow("gift").await?.expect("it is there");
        assert_eq!(
            (after.epoch, &after.version),
            (before.epoch, &before.version)
        );
        let unknown = workflows.migrate_workflow("gift", "9").await;
        assert_eq!(unknown.expect_err("nobody has it").code(), "STATE_MISMATCH");

        let moved = workflows.migrate_workflow("paid", "3").await?;
        assert_eq!(
            (moved.version.as_str(), moved.state.as_str()),
            ("3", "till")
        );
        assert_eq!(moved.data::<Value>()?, json!({"cents": 700}));
        assert_eq!(
            moved.history.last().map(|last| last.trigger.as_str()),
            Some("migrate")
        );
        workflows.signal_workflow("paid", "paid", json!({})).await?;
        let done = author.until_status("paid", WorkflowStatus::Completed).await;
        assert_eq!(path(&done), ["pick", "gate", "till", "sent"]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_onto_another_version_begins_with_what_that_makes_of_it() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let first = author.engine(definition("1")).await?;
        let workflows = &author.workflows;
        for (id, data) in [("paid", json!({"coins": 7})), ("gift", json!({}))] {
            wait_at_the_gate(&author, id, data).await?;
            workflows.create_workflow_checkpoint(id, "before").await?;
        }
        let fork = |id: &str, of: &str| {
            let create = workflows.create_workflow("shop", None, json!({}));
            create.id(id).fork_of(of, "before").version("3")
        };
        let is_refused = async |id: &'static str, of: &str, code: &str| {
            drop(fork(id, of).await);
            let letters = DeadLetters::new(&author.client);
            mcp_tests::eventually("it is refused", || async {
                let found = letters.list(&DeadLetterFilter::new().reason(code)).await;
                found.is_ok_and(|found| found.len() == 1)
            })
            .await;
        };
        is_refused("early", "paid", "STATE_MISMATCH").await;
        let _both = author.engines(vec![definition("1"), renamed()]).await?;
        first.drain().await;
        is_refused("second_gift", "gift", "A_GIFT").await;
        fork("second", "paid").await?;
        let forked = author.until_status("second", WorkflowStatus::Waiting).await;
        assert_eq!(
            (forked.version.as_str(), forked.state.as_str()),
            ("3", "till")
        );
        assert_eq!(forked.data::<Value>()?, json!({"cents": 700}));
        let origin = workflows.get_workflow("paid").await?.expect("it is there");
        assert_eq!(
            (origin.version.as_str(), origin.state.as_str()),
            ("1", "gate")
        );
        Ok(())
    })
    .await
}

/// The engines are replaced one by one while workflows are created and go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_change_breaks_nothing_and_mixes_nothing() -> TestResult {
    bounded(LIMIT, async {
        let author = Author::new().await?;
        let old = [
            author.engine(definition("1")).await?,
            author.engine(definition("1")).await?,
        ];
        let ids: Vec<String> = (0..LOAD).map(|number| format!("w{number}")).collect();
        let loading = stream::iter(&ids).map(|id| async {
            let create = author.workflows.create_workflow("shop", None, json!({}));
            create.id(id).await?;
            author
                .workflows
                .signal_workflow(id, "paid", json!({}))
                .await
        });
        let loading = loading.buffer_unordered(8).collect::<Vec<_>>();
        let (told, _new) = tokio::join!(loading, replace(&author, old));
        for told in told {
            told?;
        }
        let _new = _new?;
        let mut versions = Vec::new();
        for id in &ids {
            let done = author.until_status(id, WorkflowStatus::Completed).await;
            assert_eq!(path(&done), ["pick", "gate", "pack", "sent"], "{done:?}");
            versions.push((id.as_str(), done.version.clone()));
        }
        let versions: Vec<(&str, &str)> = versions
            .iter()
            .map(|(id, version)| (*id, version.as_str()))
            .collect();
        let of_two = versions
            .iter()
            .filter(|(_, version)| *version == "2")
            .count();
        println!("{of_two} of {LOAD} workflows began with version 2");
        assert!((1..LOAD).contains(&of_two), "both were alive: {of_two}");
        check_versions(&author, &versions);
        Ok(())
    })
    .await
}

/// Waits until a part of the load has been created by those that are there, then replaces the next of them.
async fn replace(
    author: &Author,
    old: [RunningAgent; 2],
) -> Result<Vec<RunningAgent>, Box<dyn std::error::Error>> {
    let mut new = Vec::new();
    for (number, engine) in old.into_iter().enumerate() {
        let so_far = author.journal.lines().len();
        let enough = LOAD / 4;
        mcp_tests::eventually("a part of the load is done", || async {
            author.journal.lines().len() >= so_far + enough
        })
        .await;
        // The last of them gives way to one that has both, for what is still under way.
        let comes = match number {
            0 => vec![definition("2")],
            _ => vec![definition("1"), definition("2")],
        };
        new.push(author.engines(comes).await?);
        engine.drain().await;
    }
    Ok(new)
}

/// Each workflow's states have run once, by the code of its own version.
fn check_versions(author: &Author, versions: &[(&str, &str)]) {
    let lines = author.journal.lines();
    for (id, version) in versions {
        let own = |line: &&String| line.split(' ').next() == Some(id);
        let mut ran: Vec<&String> = lines.iter().filter(own).collect();
        ran.sort();
        let expected = ["pack", "pick"].map(|state| format!("{id} {version} {state}"));
        assert_eq!(ran, expected.iter().collect::<Vec<_>>());
    }
}
