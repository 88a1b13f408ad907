//! `mcpctl workflow watch`.

use std::{ops::ControlFlow, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mcp_agent_sdk::{WorkflowRecord, WorkflowStatus, Workflows, runtime::Token};

use super::{changes, follow::follow, status};
use crate::{
    answer::in_words,
    cli::Global,
    failure::Failure,
    output::{self, try_line},
};

const DOCUMENT: &str = "\
Exit codes: 0 it completed; 1 it failed or was stopped, or does not exist; 3 server unreachable, or --timeout passed.
With --json each line is a document {workflow_id, definition, epoch, state, status, attempt, at}; of a change of state
with from, to and trigger, else with waits_for, wakes_at and error where there are such. When it does not end well, the
last line is {\"error\": {code, message, remedy}}.";

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Follows a workflow until it ends: a line for each change.
#[derive(Debug, Args)]
#[command(after_help = DOCUMENT)]
pub(crate) struct WatchArgs {
    /// The workflow's id
    id: Token,
    /// Gives up after so long (default: never)
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

pub(super) async fn run(args: WatchArgs, global: &Global) -> Result<(), Failure> {
    watch(args, global).await.map_err(Failure::in_one_line)
}

async fn watch(args: WatchArgs, global: &Global) -> Result<(), Failure> {
    let workflows = Workflows::new(&global.connect().await?);
    let spinner = (output::can_draw() && !global.json).then(spinner);
    let mut last: Option<WorkflowRecord> = None;
    let mut unread = false;
    let ended = follow(&workflows, &args.id, args.timeout, |record| {
        unread |= tell(last.as_ref(), record, global, spinner.as_ref()).is_err();
        last = Some(record.clone());
        match unread || record.is_ended() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })
    .await;
    if let Some(spinner) = &spinner {
        spinner.finish_and_clear();
    }
    match ended? {
        // Whoever has stopped reading has what they wanted.
        Some(_) if unread => Ok(()),
        Some(record) => verdict(&record),
        None => Err(
            Failure::unreachable(format!("workflow `{}` has not ended in time", args.id))
                .remedy("it goes on: `mcpctl workflow watch` follows it again"),
        ),
    }
}

/// Prints what is new, in front of the spinner if there is one.
fn tell(
    before: Option<&WorkflowRecord>,
    now: &WorkflowRecord,
    global: &Global,
    spinner: Option<&ProgressBar>,
) -> std::io::Result<()> {
    for change in changes::since(before, now) {
        let text = match global.json {
            true => change.document(now).to_string(),
            false => change.in_words(now),
        };
        match spinner {
            Some(spinner) => spinner.suspend(|| try_line(text))?,
            None => try_line(text)?,
        }
    }
    if let Some(spinner) = spinner {
        spinner.set_message(status::sentence(now));
    }
    Ok(())
}

/// Completed is success; any other end is not.
pub(super) fn verdict(record: &WorkflowRecord) -> Result<(), Failure> {
    let id = &record.id;
    match record.status {
        WorkflowStatus::Failed => {
            let error = record.error.as_ref();
            let why = error.map_or(String::new(), |error| format!(": {}", in_words(error, 1)));
            let sentence = format!("workflow `{id}` failed in `{}`{why}", record.state);
            let remedy = format!("`mcpctl workflow resume {id}` lets it go on");
            Err(Failure::answered(sentence).remedy(remedy))
        }
        WorkflowStatus::Stopped => {
            let reason = record.stop_reason.as_deref();
            let why = reason.map_or(String::new(), |reason| format!(": {reason}"));
            Err(Failure::answered(format!(
                "workflow `{id}` was stopped{why}"
            )))
        }
        _ => Ok(()),
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>4} {spinner} {msg}");
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.expect("the template is valid"));
    spinner.enable_steady_tick(TICK);
    spinner
}
