//! Looking at one workflow again and again: it is in a bucket, and a look is one direct get.

use std::{ops::ControlFlow, time::Duration};

use mcp_agent_sdk::{WorkflowError, WorkflowRecord, Workflows, runtime::Token};
use tokio::time::{Instant, sleep};

use super::target::no_such;
use crate::{failure::Failure, output};

/// Between two looks: quick at first, since many workflows take milliseconds.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// A server that restarts is back in less; one that is away for longer is told of.
const OUTAGE: Duration = Duration::from_secs(30);

/// Looks until `see` breaks. With a time-out that passes first: `None`.
pub(super) async fn follow(
    workflows: &Workflows,
    id: &Token,
    timeout: Option<Duration>,
    mut see: impl FnMut(&WorkflowRecord) -> ControlFlow<()>,
) -> Result<Option<WorkflowRecord>, Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut away_since = None;
    let mut pause = FIRST_LOOK;
    loop {
        match workflows.get_workflow(id.as_str()).await {
            Ok(Some(record)) => {
                away_since = None;
                if see(&record).is_break() {
                    return Ok(Some(record));
                }
            }
            Ok(None) => return Err(no_such(id)),
            Err(error) => bear(error, &mut away_since)?,
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        sleep(left.map_or(pause, |left| pause.min(left))).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// A short outage is waited out.
fn bear(error: WorkflowError, away_since: &mut Option<Instant>) -> Result<(), Failure> {
    if !matches!(error, WorkflowError::Transport { .. }) {
        return Err(error.into());
    }
    match *away_since {
        None => {
            output::note(format!("trouble while following: {error}"));
            *away_since = Some(Instant::now());
            Ok(())
        }
        Some(since) if since.elapsed() < OUTAGE => Ok(()),
        Some(_) => Err(error.into()),
    }
}
