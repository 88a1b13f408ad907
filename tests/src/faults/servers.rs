//! The servers of a cell: one, or a cluster of three.

use mcp_agent_sdk::TestBroker;

use super::Failed;

/// What stores the messages of a cell.
pub(super) enum Servers {
    Single(Box<TestBroker>),
}

impl Servers {
    pub(super) async fn start() -> Result<Self, Failed> {
        Ok(Self::Single(Box::new(TestBroker::start().await?)))
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Single(broker) => broker.url().to_owned(),
        }
    }
}
