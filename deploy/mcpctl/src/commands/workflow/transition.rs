//! `mcpctl workflow transition`.

use clap::Args;
use mcp_agent_sdk::{Name, Workflows};
use serde_json::json;

use super::target::{Target, answered};
use crate::{cli::Global, failure::Failure, parameters::Parameters};

/// Moves a workflow to another state, which its definition must allow.
///
/// A state that runs is finished first. With --json the document is the workflow's record.
#[derive(Debug, Args)]
pub(crate) struct TransitionArgs {
    #[command(flatten)]
    target: Target,
    /// The state to go to
    state: Name,
    /// Only if it is in this state
    #[arg(long, value_name = "STATE")]
    expect: Option<Name>,
    #[command(flatten)]
    data: Parameters,
}

pub(super) async fn run(args: TransitionArgs, global: &Global) -> Result<(), Failure> {
    let data = args.data.read()?;
    let workflows = Workflows::new(&global.connect().await?);
    let mut transition = workflows
        .transition_workflow(args.target.id.as_str(), args.state.as_str())
        .timeout(args.target.timeout);
    // Fields are merged into the workflow's data, so none is nothing to say.
    if data != json!({}) {
        transition = transition.data(&data);
    }
    if let Some(state) = &args.expect {
        transition = transition.expected_state(state.as_str());
    }
    answered(&transition.await?, global)
}
