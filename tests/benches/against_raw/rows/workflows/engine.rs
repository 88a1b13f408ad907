//! Our side: an agent with two definitions, whose engine works off a stock of stored starts.

use std::{fmt, sync::Arc};

use mcp_agent_sdk::{
    Agent, Client, McpError, Workflow, WorkflowContext, WorkflowEvents, WorkflowState,
    WorkflowTransitionResult as Then, Workflows,
};
use serde::{Deserialize, Serialize};

use crate::{Failed, flow::Flow};

use super::stock;

/// How many states a workflow runs; also how often its record is written.
pub(super) const STATES: u64 = 5;

/// Which of the two definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Definition {
    /// Only the events of beginning and end.
    Lifecycle,
    /// Also one for each change of state.
    All,
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifecycle => "lifecycle events",
            Self::All => "all events",
        })
    }
}

impl Definition {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "quiet",
            Self::All => "talkative",
        }
    }

    fn workflow(self) -> Workflow<Arc<Flow>> {
        let events = match self {
            Self::Lifecycle => WorkflowEvents::Lifecycle,
            Self::All => WorkflowEvents::All,
        };
        Workflow::new(self.name())
            .events(events)
            .state("s1", WorkflowState::run(step::<2>).to("s2"))
            .state("s2", WorkflowState::run(step::<3>).to("s3"))
            .state("s3", WorkflowState::run(step::<4>).to("s4"))
            .state("s4", WorkflowState::run(step::<5>).to("s5"))
            .state("s5", WorkflowState::run(last).completes())
    }
}

/// What a workflow carries: 1 KiB, and something that each state changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) step: u32,
    pub(super) text: String,
}

impl Job {
    pub(super) fn new() -> Self {
        Self {
            step: 0,
            text: "x".repeat(1_024),
        }
    }
}

async fn step<const NEXT: u8>(
    ctx: WorkflowContext<Arc<Flow>>,
    mut job: Job,
) -> Result<Then, McpError> {
    ctx.state().note();
    job.step += 1;
    Ok(Then::to(["s1", "s2", "s3", "s4", "s5"][usize::from(NEXT) - 1]).with(&job))
}

async fn last(ctx: WorkflowContext<Arc<Flow>>, mut job: Job) -> Result<Then, McpError> {
    ctx.state().note();
    job.step += 1;
    Ok(Then::complete().with(&job))
}

/// Runs stocks of workflows.
pub(super) struct Engine {
    client: Client,
    shards: u16,
}

impl Engine {
    pub(super) async fn new(client: Client, shards: u16) -> Result<Self, Failed> {
        // Once without work, so that the consumers are there when the first stock is stored.
        let this = Self { client, shards };
        this.agent(&Arc::new(Flow::of(0)), 1)
            .start(&this.client)
            .await?
            .drain()
            .await;
        Ok(this)
    }

    /// States run a second, of so many workflows of which `parallel` run at once.
    pub(super) async fn rate(
        &self,
        definition: Definition,
        parallel: usize,
        workflows: u64,
    ) -> Result<f64, Failed> {
        stock::store(&self.client, self.shards, definition, workflows).await?;
        let flow = Arc::new(Flow::of(workflows * STATES));
        let agent = self.agent(&flow, parallel).start(&self.client).await?;
        let rate = flow.rate().await;
        agent.drain().await;
        rate
    }

    /// What one write carries on average: the record of a finished workflow has all of the history, that of a
    /// new one nearly none.
    pub(super) async fn record_size(&self) -> Result<usize, Failed> {
        let id = stock::last_id();
        let workflows = Workflows::new(&self.client);
        let record = workflows
            .get_workflow(&id)
            .await?
            .ok_or("the last workflow has no record")?;
        let shard = stock::shard(&id, self.shards);
        let bucket = self.client.namespace().workflows_bucket(shard);
        let bucket = self.client.jetstream().get_key_value(bucket).await?;
        let whole = bucket.get(&id).await?.ok_or("the record is gone")?.len();
        let history = serde_json::to_vec(&record.history)?.len();
        Ok(whole - history / 2)
    }

    fn agent(&self, flow: &Arc<Flow>, parallel: usize) -> Agent<Arc<Flow>> {
        // The capacity is that of each shard.
        let capacity = (parallel / usize::from(self.shards)).max(1);
        Agent::with_state("bench", Arc::clone(flow))
            .workflow(Definition::Lifecycle.workflow())
            .workflow(Definition::All.workflow())
            .workflow_capacity(u32::try_from(capacity).unwrap_or(u32::MAX))
    }
}
