//! What a task does to a workflow that nobody drives at the moment, or that its driver lets it do.

use mcp_runtime::{McpError, Name, Raw};

use crate::{
    checkpoint::WorkflowCheckpoint,
    effect::{EffectKind, Happening},
    record::{Compensation, Signal, WorkflowRecord, WorkflowStatus},
    task::{Task, Verb},
};

use super::{
    Former, Migrated, Need, Supplies,
    children::child_ended,
    codes,
    draft::{Draft, ended_attempt},
    refusal,
};

/// Signals that are kept for later; a workflow that gets more will never look at them.
const MAX_SIGNALS: usize = 256;

/// What came of a task.
#[derive(Debug)]
pub(crate) enum Applied {
    /// The draft has changed.
    Done,
    /// Not allowed; nothing has changed.
    Rejected(McpError),
    /// Nothing to do, such as for a timer that has been overtaken.
    Ignored,
}

fn rejected(code: &str, message: String) -> Applied {
    Applied::Rejected(refusal(code, message))
}

/// Applies one task. [`Need`] says what has to be fetched before; the draft is then unchanged.
pub(crate) fn apply(
    draft: &mut Draft<'_>,
    task: &Task,
    supplies: &Supplies,
) -> Result<Applied, Need> {
    match task.task {
        // A start never gets here: there is a record already.
        Verb::Start => Ok(Applied::Ignored),
        Verb::Transition => transition(draft, task, supplies),
        Verb::Signal => signal(draft, task, supplies),
        Verb::Wake => wake(draft, task, supplies),
        Verb::Stop => Ok(stop(draft, task)),
        Verb::Resume => Ok(resume(draft)),
        Verb::Migrate => migrate(draft, task, supplies),
        Verb::Checkpoint => Ok(checkpoint(draft, task)),
        Verb::DeleteCheckpoint => delete_checkpoint(draft, task, supplies),
        Verb::Restore => restore(draft, task, supplies),
    }
}

/// Whether a task could need an event that the write already has: then it waits for the next write.
pub(crate) fn collides(draft: &Draft<'_>, task: &Task) -> bool {
    use Happening::{
        Checkpointed, Compensating, Completed, Restored, Stopped, Transitioned, Waiting,
    };
    let could: &[Happening] = match task.task {
        Verb::Transition | Verb::Signal | Verb::Wake => &[Transitioned, Waiting, Completed],
        Verb::Restore => &[Restored, Waiting, Completed],
        Verb::Resume => &[Waiting, Completed, Compensating],
        Verb::Checkpoint => &[Checkpointed],
        Verb::Stop => &[Stopped, Compensating],
        Verb::Migrate => &[Transitioned, Waiting, Completed],
        Verb::Start | Verb::DeleteCheckpoint => &[],
    };
    draft.is_closed() || could.iter().any(|happening| draft.has(*happening))
}

fn ended(draft: &Draft<'_>) -> Option<Applied> {
    let phase = draft.phase();
    if draft.is_compensating() {
        return Some(rejected(
            codes::WORKFLOW_ENDED,
            "the workflow is being compensated, after which it ends".to_owned(),
        ));
    }
    phase.is_ended().then(|| {
        rejected(
            codes::WORKFLOW_ENDED,
            format!("the workflow is {phase}; restore a checkpoint to go on"),
        )
    })
}

/// The exit hook of a state runs before the state is left; one that was never run has nothing to clean up.
pub(super) fn may_leave(draft: &Draft<'_>, supplies: &Supplies) -> Result<(), Need> {
    let record = &draft.record;
    let was_in = record.entered || draft.phase() == WorkflowStatus::Waiting;
    let hook = draft
        .shape
        .state(&record.state)
        .is_some_and(|state| state.on_exit);
    match was_in && hook && supplies.exited != Some(record.entry) {
        true => Err(Need::Exit),
        false => Ok(()),
    }
}

fn transition(draft: &mut Draft<'_>, task: &Task, supplies: &Supplies) -> Result<Applied, Need> {
    if let Some(refused) = ended(draft) {
        return Ok(refused);
    }
    let Some(to) = &task.to else {
        return Ok(Applied::Ignored);
    };
    let state = draft.record.state.clone();
    if let Some(refused) = unknown_state(draft, to) {
        return Ok(refused);
    }
    if task
        .expected_state
        .as_ref()
        .is_some_and(|expected| *expected != state)
    {
        let message = format!("the workflow is in `{state}`, which was not expected");
        return Ok(rejected(codes::STATE_MISMATCH, message));
    }
    if !draft
        .shape
        .state(&state)
        .is_some_and(|state| state.leads_to(to))
    {
        let message = format!("`{state}` does not lead to `{to}`");
        return Ok(rejected(codes::ILLEGAL_TRANSITION, message));
    }
    may_leave(draft, supplies)?;
    if let Some(data) = &task.data {
        draft.merge(data);
    }
    draft.enter(to, "transition");
    Ok(Applied::Done)
}

fn unknown_state(draft: &Draft<'_>, name: &Name) -> Option<Applied> {
    if draft.shape.state(name).is_some() {
        return None;
    }
    let states = draft.shape.states.iter().map(|state| state.name.as_str());
    let known = states.collect::<Vec<_>>().join(", ");
    Some(rejected(
        codes::NO_SUCH_STATE,
        format!("there is no state `{name}`; there are {known}"),
    ))
}

fn signal(draft: &mut Draft<'_>, task: &Task, supplies: &Supplies) -> Result<Applied, Need> {
    if let Some(applied) = child_ended(draft, task, supplies)? {
        return Ok(applied);
    }
    if let Some(refused) = ended(draft) {
        return Ok(refused);
    }
    let Some(name) = &task.name else {
        return Ok(Applied::Ignored);
    };
    let signal = Signal {
        name: name.clone(),
        data: task.data.clone().unwrap_or_else(Raw::empty_map),
        at: draft.now_ms,
    };
    let awaited = match (draft.phase(), &draft.record.wait) {
        (WorkflowStatus::Waiting, Some(wait)) if wait.signals.contains(name) => {
            Some(wait.then.clone())
        }
        _ => None,
    };
    match awaited {
        Some(then) => {
            if then.is_some() {
                may_leave(draft, supplies)?;
            }
            draft.record.wait = None;
            draft.fire(signal, then);
        }
        None if draft.record.signals.len() >= MAX_SIGNALS => {
            let full = McpError::temporary(mcp_runtime::code::OVERLOADED).message(format!(
                "{MAX_SIGNALS} signals wait already that nobody waits for"
            ));
            return Ok(Applied::Rejected(full));
        }
        None => draft.record.signals.push(signal),
    }
    Ok(Applied::Done)
}

fn wake(draft: &mut Draft<'_>, task: &Task, supplies: &Supplies) -> Result<Applied, Need> {
    let record = &draft.record;
    if task.is_for_parked() {
        // Opening the draft has taken it out of the park.
        return Ok(match record.status {
            WorkflowStatus::Parked => Applied::Done,
            _ => Applied::Ignored,
        });
    }
    let wait = (record.wait.clone()).filter(|_| draft.phase() == WorkflowStatus::Waiting);
    let Some((wait, until)) = wait.and_then(|wait| wait.until.map(|until| (wait, until))) else {
        return Ok(Applied::Ignored);
    };
    if !is_its_timer(record, task) && draft.now_ms < until {
        return Ok(Applied::Ignored);
    }
    match (wait.retry, wait.or_else) {
        (true, _) => draft.retry_now(),
        (false, Some(to)) => {
            may_leave(draft, supplies)?;
            draft.enter(&to, "timer");
            draft.record.timed_out = true;
        }
        (false, None) => draft.wake(None),
    }
    Ok(Applied::Done)
}

/// Whether a `wake` is for what the workflow waits for now.
pub(crate) fn is_its_timer(record: &WorkflowRecord, task: &Task) -> bool {
    task.entry == Some(record.entry)
        && !task.is_for_parked()
        && task
            .attempt
            .is_none_or(|attempt| attempt == ended_attempt(record))
}

fn stop(draft: &mut Draft<'_>, task: &Task) -> Applied {
    if draft.is_compensating() {
        if task.compensate || task.parent.is_some() {
            return Applied::Ignored;
        }
        draft.record.stop_reason.clone_from(&task.reason);
        if !task.leave_children {
            draft.stop_children(false);
        }
        draft.stop_compensating();
        return Applied::Done;
    }
    if let Some(refused) = ended(draft) {
        return match task.parent {
            // It has ended by itself while its parent was being stopped.
            Some(_) => Applied::Ignored,
            None => refused,
        };
    }
    draft.record.stop_reason.clone_from(&task.reason);
    if !task.leave_children {
        draft.stop_children(task.compensate);
    }
    if !(task.compensate && draft.compensate(WorkflowStatus::Stopped)) {
        draft.stop();
    }
    Applied::Done
}

fn resume(draft: &mut Draft<'_>) -> Applied {
    let waits_for_retry = draft.record.wait.as_ref().is_some_and(|wait| wait.retry);
    match draft.phase() {
        // Opening the draft has taken it out of the park.
        _ if draft.record.status == WorkflowStatus::Parked => Applied::Done,
        ended @ (WorkflowStatus::Failed | WorkflowStatus::Stopped) if was_compensated(draft) => {
            match draft.compensate_again(ended) {
                true => Applied::Done,
                false => rejected(
                    codes::STATE_MISMATCH,
                    "what the workflow had completed is undone; restore a checkpoint to go on"
                        .to_owned(),
                ),
            }
        }
        WorkflowStatus::Failed => {
            draft.begin_entry();
            draft.settle_in();
            Applied::Done
        }
        WorkflowStatus::Waiting if waits_for_retry => {
            draft.retry_now();
            Applied::Done
        }
        WorkflowStatus::Running | WorkflowStatus::Waiting | WorkflowStatus::Parked => rejected(
            codes::STATE_MISMATCH,
            format!(
                "the workflow is {}: there is nothing to resume",
                draft.phase()
            ),
        ),
        WorkflowStatus::Completed | WorkflowStatus::Stopped => {
            ended(draft).unwrap_or(Applied::Ignored)
        }
    }
}

fn was_compensated(draft: &Draft<'_>) -> bool {
    let compensation = draft.record.compensation.as_ref();
    compensation.is_some_and(Compensation::has_begun)
}

fn migrate(draft: &mut Draft<'_>, task: &Task, supplies: &Supplies) -> Result<Applied, Need> {
    let version = task.version.as_deref().unwrap_or_default();
    if version == draft.record.version {
        return Ok(Applied::Ignored);
    }
    if draft.shape.version != version {
        return Ok(no_version(task));
    }
    if draft.phase() != WorkflowStatus::Failed
        && !draft.is_compensating()
        && let Some(refused) = ended(draft)
    {
        return Ok(refused);
    }
    let former = draft.former();
    let migrated = match taken_over(draft, former, supplies)? {
        Some(Err(error)) => return Ok(Applied::Rejected(error)),
        Some(Ok(migrated)) => Some(migrated),
        None => None,
    };
    let state = migrated.as_ref().map(|migrated| migrated.state.clone());
    let state = state.unwrap_or_else(|| draft.record.state.clone());
    if let Some(refused) = unknown_state(draft, &state) {
        return Ok(refused);
    }
    draft.record.version = version.to_owned();
    if let Some(migrated) = migrated {
        draft.record.data = migrated.data;
    }
    let moves = state != draft.record.state;
    // A failed workflow waits for a resume, and one that is being undone enters nothing; anything else enters its state anew.
    if draft.is_compensating() {
        draft.begin_entry();
    }
    match draft.phase() == WorkflowStatus::Failed || draft.is_compensating() {
        true if moves => {
            draft.move_to(state, "migrate");
        }
        true => {}
        false if moves => draft.enter(&state, "migrate"),
        false => {
            draft.begin_entry();
            draft.settle_in();
        }
    }
    Ok(Applied::Done)
}

/// What the definition's migration function has made of what an earlier version left; `None` where it declares none.
fn taken_over(
    draft: &Draft<'_>,
    former: Former,
    supplies: &Supplies,
) -> Result<Option<Result<Migrated, McpError>>, Need> {
    if !draft.shape.migrates_from.contains(&former.version) {
        return Ok(None);
    }
    match &supplies.migrated {
        Some((given, migrated)) if *given == former => Ok(Some(migrated.clone())),
        _ => Err(Need::Migration {
            former: Box::new(former),
            to: draft.shape.version.clone(),
        }),
    }
}

fn no_version(task: &Task) -> Applied {
    let version = task.version.as_deref().unwrap_or_default();
    let message = format!("no engine has version {version} of `{}`", task.definition);
    rejected(codes::STATE_MISMATCH, message)
}

fn checkpoint(draft: &mut Draft<'_>, task: &Task) -> Applied {
    let Some(name) = &task.name else {
        return Applied::Ignored;
    };
    draft.checkpoint(name);
    Applied::Done
}

fn supplied<'a>(
    supplies: &'a Supplies,
    task: &Task,
) -> Result<Option<&'a WorkflowCheckpoint>, Need> {
    let Some(wanted) = &task.name else {
        return Ok(None);
    };
    let found = supplies.checkpoints.iter().find(|(name, _)| name == wanted);
    match found {
        Some((_, checkpoint)) => Ok(checkpoint.as_ref()),
        None => Err(Need::Checkpoint(wanted.clone())),
    }
}

fn no_checkpoint(task: &Task) -> Applied {
    let name = task.name.as_ref().map_or("", Name::as_str);
    rejected(
        codes::NO_SUCH_CHECKPOINT,
        format!("the workflow has no checkpoint `{name}`"),
    )
}

fn delete_checkpoint(
    draft: &mut Draft<'_>,
    task: &Task,
    supplies: &Supplies,
) -> Result<Applied, Need> {
    let Some(checkpoint) = supplied(supplies, task)? else {
        return Ok(no_checkpoint(task));
    };
    draft.effect(EffectKind::DeleteCheckpoint {
        name: checkpoint.name.clone(),
    });
    Ok(Applied::Done)
}

/// State and data as they were, or what this version makes of them if they are of an earlier one; everything after it is new, so
/// its effects are too.
fn restore(draft: &mut Draft<'_>, task: &Task, supplies: &Supplies) -> Result<Applied, Need> {
    let Some(checkpoint) = supplied(supplies, task)? else {
        return Ok(no_checkpoint(task));
    };
    if draft.is_compensating() {
        let message = "the workflow is being compensated; restore when that is over";
        return Ok(rejected(codes::STATE_MISMATCH, message.to_owned()));
    }
    let mut checkpoint = checkpoint.clone();
    if let Some(former) = checkpoint.former_to(draft.shape) {
        match taken_over(draft, former, supplies)? {
            Some(Err(error)) => return Ok(Applied::Rejected(error)),
            Some(Ok(Migrated { state, data })) => {
                (checkpoint.state, checkpoint.data) = (state, data);
            }
            None => {}
        }
    }
    if let Some(refused) = unknown_state(draft, &checkpoint.state) {
        return Ok(refused);
    }
    if let Some(compensation) = &mut draft.record.compensation {
        compensation.forget_done();
    }
    draft.move_to(checkpoint.state, "restore");
    draft.record.data = checkpoint.data;
    draft.record.error = None;
    draft.record.stop_reason = None;
    draft.begin_entry();
    draft.restored(&checkpoint.name);
    draft.settle_in();
    Ok(Applied::Done)
}
