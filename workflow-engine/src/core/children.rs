//! Children: started by the write that their parent's state has decided, told of by a signal when they end.

use mcp_runtime::Raw;

use crate::{
    effect::EffectKind,
    record::{
        CHILD_ENDED, ChildEnd, ChildStart, ChildWait, MAX_CHILDREN, MAX_RESULT, WorkflowRecord,
        WorkflowStatus,
    },
    task::Task,
};

use super::{
    Need, Supplies,
    apply::{Applied, may_leave},
    codes,
    draft::Draft,
    refusal,
};

impl Draft<'_> {
    /// What a state has started, once its decision is written. More than a record can remember fail the state.
    pub(super) fn start_children(
        &mut self,
        children: &[ChildStart],
    ) -> Result<(), mcp_runtime::McpError> {
        // A state that has run has seen who has ended.
        for child in &mut self.record.children {
            child.seen = !child.is_running();
        }
        // Known from an attempt whose end was lost.
        let known = |start: &&ChildStart| {
            self.record
                .children
                .iter()
                .all(|child| child.id != start.id)
        };
        let new: Vec<ChildStart> = children.iter().filter(known).cloned().collect();
        if self.record.children.len() + new.len() > MAX_CHILDREN {
            return Err(refusal(
                codes::PAYLOAD_TOO_LARGE,
                format!("a workflow can start {MAX_CHILDREN} children in its life, no more"),
            ));
        }
        if !new.is_empty() {
            self.record
                .children
                .extend(new.iter().map(ChildStart::child));
            self.effect(EffectKind::StartChildren { children: new });
        }
        Ok(())
    }

    /// Those that still run, but for those that are to outlive their parent.
    pub(super) fn stop_children(&mut self, compensate: bool) {
        let running = self.record.children.iter();
        let running = running.filter(|child| child.is_running() && !child.independent);
        let children: Vec<_> = running
            .map(|child| (child.id.clone(), child.definition.clone()))
            .collect();
        if !children.is_empty() {
            self.effect(EffectKind::StopChildren {
                children,
                compensate,
            });
        }
    }

    /// Whether a wait for children is over before it has begun.
    pub(super) fn children_have_ended(&self, wait: Option<&ChildWait>) -> bool {
        wait.is_some_and(|wait| wait.is_over(&self.record.children))
    }
}

/// What a workflow that has ended tells its parent.
pub(super) fn end_of(record: &WorkflowRecord, status: WorkflowStatus) -> Option<EffectKind> {
    let parent = record.child_of.clone()?;
    let completed = status == WorkflowStatus::Completed;
    let data = Some(&record.data).filter(|data| completed && is_small(data));
    let error = record
        .error
        .as_ref()
        .filter(|_| status == WorkflowStatus::Failed);
    let end = ChildEnd {
        id: record.id.clone(),
        epoch: record.epoch,
        status,
        data: data.cloned(),
        error: error.cloned(),
    };
    Some(EffectKind::TellParent { parent, end })
}

fn is_small(data: &Raw) -> bool {
    data.encoded_len() <= MAX_RESULT
}

/// What a signal is when it tells the end of a child; `None` for any other signal.
pub(super) fn child_ended(
    draft: &mut Draft<'_>,
    task: &Task,
    supplies: &Supplies,
) -> Result<Option<Applied>, Need> {
    if task
        .name
        .as_ref()
        .is_none_or(|name| name.as_str() != CHILD_ENDED)
    {
        return Ok(None);
    }
    let end = task.data.as_ref().map(Raw::decode::<ChildEnd>);
    let Some(Ok(end)) = end else {
        return Ok(Some(Applied::Ignored));
    };
    let mut children = draft.record.children.clone();
    let Some(child) = children.iter_mut().find(|child| child.id == end.id) else {
        return Ok(Some(Applied::Ignored));
    };
    if !child.is_running() && end.epoch <= child.epoch {
        return Ok(Some(Applied::Ignored));
    }
    (child.epoch, child.status) = (end.epoch, Some(end.status));
    (child.data, child.error) = (end.data, end.error);
    child.seen = false;
    let waits = draft.record.wait.clone();
    let waits = waits.filter(|_| draft.phase() == WorkflowStatus::Waiting);
    let over = waits.filter(|wait| {
        wait.children
            .as_ref()
            .is_some_and(|it| it.is_over(&children))
    });
    if over.as_ref().is_some_and(|wait| wait.then.is_some()) {
        may_leave(draft, supplies)?;
    }
    draft.record.children = children;
    if let Some(wait) = over {
        draft.fire_children(wait.then);
    }
    Ok(Some(Applied::Done))
}
