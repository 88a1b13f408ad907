//! Which dead letters are meant: by sequence, by filter, or all.

use std::time::Duration;

use clap::Args;
use mcp_agent_sdk::{
    Name,
    runtime::{DeadLetter, DeadLetterError, DeadLetterFilter, DeadLetters},
};

use crate::failure::Failure;

/// Letters of one page.
const PAGE: usize = 1000;

/// Conditions on dead letters, all of which must hold.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Conditions {
    /// Only those of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<Name>,
    /// Only those for this action
    #[arg(long, value_name = "NAME")]
    action: Option<Name>,
    /// Only those that ended with this error code
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only those that have been dead for at least so long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

/// The letters that something is to be done with.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The sequences of single letters, as `mcpctl dead list` shows them
    #[arg(value_name = "SEQUENCE", conflicts_with_all = ["all", "agent", "action", "reason", "older_than"])]
    sequences: Vec<u64>,
    #[command(flatten)]
    conditions: Conditions,
    /// All of them
    #[arg(long, conflicts_with_all = ["agent", "action", "reason", "older_than"])]
    all: bool,
}

impl Conditions {
    pub(super) fn filter(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::new();
        if let Some(agent) = &self.agent {
            filter = filter.agent(agent.clone());
        }
        if let Some(action) = &self.action {
            filter = filter.action(action.clone());
        }
        if let Some(reason) = &self.reason {
            filter = filter.reason(reason);
        }
        if let Some(age) = self.older_than {
            filter = filter.older_than(age);
        }
        filter
    }

    fn is_empty(&self) -> bool {
        let Self {
            agent,
            action,
            reason,
            older_than,
        } = self;
        agent.is_none() && action.is_none() && reason.is_none() && older_than.is_none()
    }
}

impl Selection {
    /// Refuses to mean everything by saying nothing. To be asked before anything is connected to.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.sequences.is_empty() && self.conditions.is_empty() && !self.all {
            true => Err(Failure::usage("no dead letter was named")
                .remedy("give a SEQUENCE, a filter, or --all")),
            false => Ok(()),
        }
    }

    /// The letters as they are now: what dies later is left alone.
    pub(super) async fn letters(
        &self,
        letters: &DeadLetters,
    ) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut found = Vec::new();
        if !self.sequences.is_empty() {
            for sequence in &self.sequences {
                found.push(letters.show(*sequence).await?.letter().clone());
            }
            return Ok(found);
        }
        let mut filter = self.conditions.filter().limit(PAGE);
        loop {
            let page = letters.list(&filter).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            filter = filter.after(last.sequence);
            let is_last = page.len() < PAGE;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }
}
