//! `mcpctl workflow start`.

use std::{ops::ControlFlow, time::Duration};

use clap::Args;
use mcp_agent_sdk::{Client, Name, WorkflowRecord, Workflows, runtime::Token};

use super::{
    clock,
    follow::follow,
    show::show,
    status,
    target::{answered, document},
    watch::verdict,
};
use crate::{cli::Global, failure::Failure, output, parameters::Parameters};

const DOCUMENT: &str = "\
Exit codes with --wait: 0 it completed, or waits for somebody; 1 it failed or was stopped; 3 server unreachable, or
neither came within --timeout. An id that is there already starts nothing: its workflow is shown as it is.
With --json the document is the workflow's record.

Try: mcpctl workflow start probe_pipeline --id order-17 -p '{\"sleep_ms\": 200}' --wait
     mcpctl workflow start probe_pipeline --fork-of order-17 --checkpoint before_edit";

/// Starts a workflow. It exists as soon as its start is stored, and runs as soon as an engine has time.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct StartArgs {
    /// The definition
    definition: Name,
    /// The workflow's id (default: a new one)
    #[arg(long)]
    id: Option<Token>,
    /// Where it begins (default: the definition's initial state)
    #[arg(long, value_name = "STATE")]
    state: Option<Name>,
    /// The definition's version (default: the engine's)
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    data: Parameters,
    /// Begins as a checkpoint of this workflow; the parameters go over its data
    #[arg(long, value_name = "WORKFLOW", requires = "checkpoint")]
    fork_of: Option<Token>,
    /// The checkpoint of --fork-of
    #[arg(long, value_name = "NAME", requires = "fork_of")]
    checkpoint: Option<Name>,
    /// The conversation that the workflow belongs to
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Waits until it ends, or waits for somebody, and shows it
    #[arg(long)]
    wait: bool,
    /// How long --wait waits
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, value_name = "DURATION",
          requires = "wait")]
    timeout: Duration,
}

pub(super) async fn run(args: StartArgs, global: &Global) -> Result<(), Failure> {
    let data = args.data.read()?;
    let client = global.connect().await?;
    let workflows = Workflows::new(&client);
    let state = args.state.as_ref().map(Name::as_str);
    let mut start = workflows.create_workflow(args.definition.as_str(), state, &data);
    if let Some(id) = &args.id {
        start = start.id(id.as_str());
    }
    if let Some((origin, checkpoint)) = args.fork_of.as_ref().zip(args.checkpoint.as_ref()) {
        start = start.fork_of(origin.as_str(), checkpoint.as_str());
    }
    if let Some(version) = &args.version {
        start = start.version(version);
    }
    if let Some(conversation) = &args.conversation {
        start = start.conversation(conversation);
    }
    let record = start.await?;
    match args.wait {
        true => wait(&client, &workflows, &record, args.timeout, global).await,
        false => answered(&record, global),
    }
}

async fn wait(
    client: &Client,
    workflows: &Workflows,
    started: &WorkflowRecord,
    timeout: Duration,
    global: &Global,
) -> Result<(), Failure> {
    let rests = |record: &WorkflowRecord| record.is_ended() || status::needs_somebody(record);
    let see = |record: &WorkflowRecord| match rests(record) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let id = &started.id;
    let Some(record) = follow(workflows, id, Some(timeout), see).await? else {
        let sentence = format!("workflow `{id}` is started, but runs still");
        return Err(Failure::unreachable(sentence).remedy(format!(
            "follow it with `mcpctl workflow watch {id}`, and see with `mcpctl workflow definitions` whether an engine is \
             there"
        )));
    };
    let shown = document(&record);
    match global.json {
        // A failure prints the one document.
        true => match verdict(&record) {
            Ok(()) => output::json(&shown?),
            Err(failure) => return Err(failure.document(shown?)),
        },
        false => {
            show(&record, clock::now_ms(client).await?);
            verdict(&record)?;
        }
    }
    Ok(())
}
