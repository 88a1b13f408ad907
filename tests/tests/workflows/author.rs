//! Agents of the tests that bring definitions of their own, and a journal of what their states have seen.

use std::sync::{Arc, Mutex, PoisonError};

use mcp_agent_sdk::{
    Agent, Client, Error, TestBroker, Workflow, WorkflowRecord, WorkflowStatus, Workflows,
    runtime::transport,
};

use crate::scene::until;

/// What states note down; shared by all engines of a test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A server, and an agent of the test's own on it.
pub(crate) struct Author {
    pub(crate) broker: TestBroker,
    pub(crate) client: Client,
    pub(crate) workflows: Workflows,
    pub(crate) journal: Journal,
}

impl Author {
    pub(crate) async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let broker = TestBroker::start().await?;
        let client = broker.client().await?;
        Ok(Self {
            workflows: Workflows::new(&client),
            journal: Journal::default(),
            client,
            broker,
        })
    }

    /// Starts an engine on a connection of its own; dropping it is its death.
    pub(crate) async fn engine(
        &self,
        definition: Workflow<Journal>,
    ) -> Result<mcp_agent_sdk::RunningAgent, Box<dyn std::error::Error>> {
        self.engines(vec![definition]).await
    }

    /// Starts an engine that brings several definitions, or versions of one.
    pub(crate) async fn engines(
        &self,
        definitions: Vec<Workflow<Journal>>,
    ) -> Result<mcp_agent_sdk::RunningAgent, Box<dyn std::error::Error>> {
        let client = self.broker.client().await?.named(name("author"));
        let agent = Agent::with_state("author", self.journal.clone());
        let agent = definitions.into_iter().fold(agent, Agent::workflow);
        let running: Result<_, Error> = agent.start(&client).await;
        Ok(running?)
    }

    /// The server is killed and comes back.
    pub(crate) async fn restart_server(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        self.broker.kill().await?;
        self.broker.restart().await?;
        Ok(())
    }

    pub(crate) async fn until(
        &self,
        id: &str,
        what: &str,
        is_it: impl Fn(&WorkflowRecord) -> bool,
    ) -> WorkflowRecord {
        until(&self.workflows, id, what, is_it).await
    }

    pub(crate) async fn until_status(&self, id: &str, status: WorkflowStatus) -> WorkflowRecord {
        self.until(id, status.as_str(), |record| {
            record.status == status && record.driver.is_none()
        })
        .await
    }

    /// The server's time.
    pub(crate) fn now_ms(&self) -> u64 {
        transport::server_now_ms(&self.client)
    }
}

pub(crate) fn name(text: &str) -> mcp_agent_sdk::Name {
    mcp_agent_sdk::Name::new(text).expect("it is a name")
}
