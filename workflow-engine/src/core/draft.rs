//! A record that is being changed: what happens is noted as it happens, and becomes one write.

use std::collections::HashSet;

use mcp_runtime::{McpError, Name, Raw};

use crate::{
    effect::{Effect, EffectKind, EventEffect, Happening, MAX_PENDING},
    record::{
        Driver, HistoryEntry, MAX_HISTORY, MAX_TAKEN, Signal, Wait, WorkflowRecord, WorkflowStatus,
    },
    shape::{StateKind, WorkflowEvents, WorkflowShape},
    task::Task,
};

use super::{Former, children::end_of};

/// The task on whose behalf a record is written, and which of its effects are done.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) driver: Driver,
    pub(crate) confirmed: HashSet<String>,
}

/// A record on its way to its next write.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) record: WorkflowRecord,
    pub(crate) shape: &'a WorkflowShape,
    pub(crate) now_ms: u64,
    /// Where the workflow stands apart from who drives it and what waits in the inbox.
    phase: WorkflowStatus,
    /// The epoch of the coming write.
    epoch: u64,
    events: Vec<EventEffect>,
    effects: Vec<EffectKind>,
    /// It has ended in this write, and so.
    ended: Option<WorkflowStatus>,
}

impl<'a> Draft<'a> {
    pub(crate) fn open(record: WorkflowRecord, shape: &'a WorkflowShape, now_ms: u64) -> Self {
        let driven = record.driver.is_some();
        let phase = match record.rest {
            Some(rest) => rest,
            // A stop was asked for and waits in the inbox; or it was parked while a state ran.
            None if driven || record.status == WorkflowStatus::Parked => WorkflowStatus::Running,
            None => record.status,
        };
        let epoch = record.epoch + 1;
        let mut draft = Self {
            record,
            shape,
            now_ms,
            phase,
            epoch,
            events: Vec::new(),
            effects: Vec::new(),
            ended: None,
        };
        draft.record.rest = None;
        draft.record.park_reason = None;
        if draft.record.epoch == 0 {
            draft.happened(Happening::Started);
        }
        draft
    }

    pub(crate) fn phase(&self) -> WorkflowStatus {
        self.phase
    }

    /// An event of this name would get the same message id as one that is already noted.
    pub(crate) fn has(&self, happening: Happening) -> bool {
        self.events.iter().any(|event| event.event == happening)
    }

    /// A checkpoint copies the record as it is written: nothing may change it in the same write after that.
    pub(crate) fn is_closed(&self) -> bool {
        self.effects.iter().any(EffectKind::comes_first)
    }

    pub(crate) fn effect(&mut self, kind: EffectKind) {
        self.effects.push(kind);
    }

    pub(crate) fn effects(&mut self, kinds: impl IntoIterator<Item = EffectKind>) {
        self.effects.extend(kinds);
    }

    pub(crate) fn happened(&mut self, event: Happening) {
        self.note(event, None, None, None);
    }

    fn note(
        &mut self,
        event: Happening,
        from: Option<Name>,
        to: Option<Name>,
        checkpoint: Option<Name>,
    ) {
        if event == Happening::Transitioned && self.shape.events == WorkflowEvents::Lifecycle {
            // Noted all the same by `history`; only not published.
            return;
        }
        let code = match event {
            Happening::Failed => self.record.error.as_ref().map(|error| error.code.clone()),
            _ => None,
        };
        self.events.push(EventEffect {
            event,
            epoch: self.epoch,
            state: self.record.state.clone(),
            // Filled in when the draft is closed.
            status: self.phase,
            from,
            to,
            code,
            checkpoint,
        });
    }

    /// Goes from the current state to another, in which nothing has run yet.
    pub(crate) fn enter(&mut self, to: &Name, trigger: &str) {
        let completed = !matches!(trigger, "error" | "migrate");
        if completed && let Err(full) = self.complete_state() {
            return self.fail(full);
        }
        let from = self.move_to(to.clone(), trigger);
        self.begin_entry();
        self.note(Happening::Transitioned, Some(from), Some(to.clone()), None);
        self.settle_in();
    }

    /// The workflow as the version that it runs by leaves it.
    pub(crate) fn former(&self) -> Former {
        let record = &self.record;
        Former {
            id: record.id.clone(),
            version: record.version.clone(),
            state: record.state.clone(),
            data: record.data.clone(),
        }
    }

    /// Another state, and the history says so; returns the state before. Nothing begins by that.
    pub(crate) fn move_to(&mut self, to: Name, trigger: &str) -> Name {
        let from = std::mem::replace(&mut self.record.state, to.clone());
        self.record.history.push(HistoryEntry {
            from: from.clone(),
            to,
            trigger: trigger.to_owned(),
            at: self.now_ms,
        });
        if self.record.history.len() > MAX_HISTORY {
            self.record.history.remove(0);
        }
        from
    }

    /// Whether error states only lead to each other: as many changes by errors in a row as there are states.
    pub(crate) fn goes_in_circles(&self) -> bool {
        let by_error = self.record.history.iter().rev();
        let by_error = by_error
            .take_while(|entry| entry.trigger == "error")
            .count();
        by_error >= self.shape.states.len()
    }

    /// What entering a state brings with it, however it was entered.
    pub(crate) fn settle_in(&mut self) {
        let Some(state) = self.shape.state(&self.record.state) else {
            return;
        };
        if state.checkpoint {
            self.checkpoint(&state.name.clone());
        }
        if state.needs_run(false) {
            return;
        }
        match state.kind {
            StateKind::Work => {}
            StateKind::Final => self.complete(),
            StateKind::Manual => self.wait(Wait::default()),
            StateKind::Wait => {
                let wait = self.wait_of_state();
                // An early signal leads on at once, but by the next write: one write, one change of state.
                let early = self.is_over(&wait);
                if !early {
                    self.wait(wait);
                }
            }
        }
    }

    /// What a state that waits waits for, from now on.
    pub(crate) fn wait_of_state(&self) -> Wait {
        let Some(state) = self.shape.state(&self.record.state) else {
            return Wait::default();
        };
        Wait {
            signals: state.signal.iter().cloned().collect(),
            then: state.then.clone(),
            until: state.within_ms.map(|ms| self.now_ms.saturating_add(ms)),
            or_else: state.or_else.clone(),
            children: state.children.clone(),
            retry: false,
        }
    }

    /// What is waited for is there already.
    fn is_over(&self, wait: &Wait) -> bool {
        let mut signals = self.record.signals.iter();
        signals.any(|signal| wait.signals.contains(&signal.name))
            || self.children_have_ended(wait.children.as_ref())
    }

    /// A new entry into the current state: effects after it are new effects.
    pub(crate) fn begin_entry(&mut self) {
        let record = &mut self.record;
        record.entry += 1;
        record.attempt = 1;
        record.wait = None;
        record.received = None;
        record.timed_out = false;
        record.entered = false;
        record.progress.clear();
        record.takeovers = 0;
        self.ended = None;
        self.phase = WorkflowStatus::Running;
    }

    /// The state runs again, woken by a signal or by time. Its entry hook has run.
    pub(crate) fn wake(&mut self, received: Option<Signal>) {
        let entered = self.record.entered;
        let timed_out = received.is_none();
        self.begin_entry();
        self.record.entered = entered;
        self.record.timed_out = timed_out;
        self.record.received = received;
    }

    /// Begins to wait, or goes on at once with a signal that came early.
    pub(crate) fn wait(&mut self, wait: Wait) {
        let early = (self.record.signals.iter()).position(|s| wait.signals.contains(&s.name));
        if let Some(at) = early {
            let signal = self.record.signals.remove(at);
            return self.fire(signal, wait.then);
        }
        if self.children_have_ended(wait.children.as_ref()) {
            return self.fire_children(wait.then);
        }
        let timer = wait.until;
        self.record.wait = Some(wait);
        self.phase = WorkflowStatus::Waiting;
        self.happened(Happening::Waiting);
        if let Some(at_ms) = timer {
            self.effect(EffectKind::Timer {
                entry: self.record.entry,
                attempt: self.record.attempt,
                at_ms,
            });
        }
    }

    /// A signal that was waited for.
    pub(crate) fn fire(&mut self, signal: Signal, then: Option<Name>) {
        match then {
            Some(to) => {
                let trigger = format!("signal {}", signal.name);
                self.enter(&to, &trigger);
                self.record.received = Some(signal);
            }
            None => self.wake(Some(signal)),
        }
    }

    /// Children that were waited for have ended.
    pub(crate) fn fire_children(&mut self, then: Option<Name>) {
        self.record.wait = None;
        match then {
            Some(to) => self.enter(&to, "children"),
            None => {
                self.wake(None);
                self.record.timed_out = false;
            }
        }
    }

    /// The attempt that was waited for begins.
    pub(crate) fn retry_now(&mut self) {
        self.record.wait = None;
        self.phase = WorkflowStatus::Running;
    }

    pub(crate) fn restored(&mut self, name: &Name) {
        let (from, to) = match self.record.history.last() {
            Some(entry) => (entry.from.clone(), entry.to.clone()),
            None => (self.record.state.clone(), self.record.state.clone()),
        };
        self.note(
            Happening::Restored,
            Some(from),
            Some(to),
            Some(name.clone()),
        );
    }

    pub(crate) fn checkpoint(&mut self, name: &Name) {
        self.note(Happening::Checkpointed, None, None, Some(name.clone()));
        self.effect(EffectKind::Checkpoint {
            name: name.clone(),
            epoch: self.epoch,
        });
    }

    pub(crate) fn complete(&mut self) {
        self.end(WorkflowStatus::Completed, Happening::Completed);
    }

    pub(crate) fn fail(&mut self, error: McpError) {
        self.record.error = Some(error);
        if !self.compensate(WorkflowStatus::Failed) {
            self.end(WorkflowStatus::Failed, Happening::Failed);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.end(WorkflowStatus::Stopped, Happening::Stopped);
    }

    pub(super) fn end(&mut self, status: WorkflowStatus, event: Happening) {
        self.record.wait = None;
        self.phase = status;
        self.ended = Some(status);
        self.happened(event);
    }

    /// A failed attempt of the current entry; the next one is waited for.
    pub(crate) fn wait_for_retry(&mut self, until: u64) {
        self.record.wait = Some(Wait {
            until: Some(until),
            retry: true,
            ..Wait::default()
        });
        self.phase = WorkflowStatus::Waiting;
        self.effect(EffectKind::Timer {
            entry: self.record.entry,
            attempt: ended_attempt(&self.record),
            at_ms: until,
        });
    }

    /// Merges into the data: maps by their keys, anything else replaces what was there.
    pub(crate) fn merge(&mut self, data: &Raw) {
        self.record.data = merged(&self.record.data, data);
    }

    pub(crate) fn taken(&mut self, task: &str) {
        self.record.taken.push(task.to_owned());
        if self.record.taken.len() > MAX_TAKEN {
            self.record.taken.remove(0);
        }
    }

    /// No engine knows the version: it rests as it is, until one comes that does.
    pub(crate) fn park(mut self, author: &Author) -> WorkflowRecord {
        let (version, definition) = (self.record.version.clone(), &self.record.definition);
        self.record.park_reason = Some(format!(
            "no engine has version {version} of `{definition}`; it goes on when one is started"
        ));
        self.effect(EffectKind::AwaitVersion { version });
        self.record.rest = Some(self.phase).filter(|phase| *phase != WorkflowStatus::Running);
        self.phase = WorkflowStatus::Parked;
        self.happened(Happening::Parked);
        // Neither state nor data changes: what others have still to confirm of checkpoints stays with them.
        self.record
            .pending
            .retain(|effect| !author.confirmed.contains(&effect.id));
        let kept = std::mem::take(&mut self.record.pending);
        let mut record = self.finish(author, WorkflowStatus::Parked, None);
        record.pending.splice(..0, kept);
        record
    }

    /// The record to be written. It leaves `running` only with an empty inbox.
    pub(crate) fn close(mut self, author: &Author) -> WorkflowRecord {
        let resting = self.phase != WorkflowStatus::Running;
        if resting && self.record.inbox.is_empty() {
            let status = self.phase;
            return self.finish(author, status, None);
        }
        self.record.rest = resting.then_some(self.phase);
        // A stop that waits in the inbox has set the status already.
        let status = match self.record.status {
            WorkflowStatus::Stopped if self.stop_is_waiting() => WorkflowStatus::Stopped,
            _ => WorkflowStatus::Running,
        };
        self.finish(author, status, Some(author.driver.clone()))
    }

    fn stop_is_waiting(&self) -> bool {
        self.record.inbox.iter().any(Task::stops_at_once)
    }

    fn finish(
        self,
        author: &Author,
        status: WorkflowStatus,
        driver: Option<Driver>,
    ) -> WorkflowRecord {
        let Self {
            mut record,
            now_ms,
            epoch,
            events,
            effects,
            ended,
            ..
        } = self;
        record.epoch = epoch;
        record.updated_at = now_ms;
        record.status = status;
        let drove = record.driver.as_ref().map(|driver| driver.task.as_str());
        if driver.is_none() && drove == Some(author.driver.task.as_str()) {
            // It may come once more before it is acknowledged, when many others have been taken in since it was.
            record.taken.retain(|task| *task != author.driver.task);
            record.taken.push(author.driver.task.clone());
            let surplus = record.taken.len().saturating_sub(MAX_TAKEN);
            record.taken.drain(..surplus);
        }
        record.driver = driver;
        record.wake_in_ms = record
            .wait
            .as_ref()
            .and_then(|wait| wait.until)
            .map(|until| until.saturating_sub(now_ms));
        let mut pending = std::mem::take(&mut record.pending);
        // Whoever writes has confirmed what concerns checkpoints before: they copy what the write changes.
        pending.retain(|effect| {
            !author.confirmed.contains(&effect.id)
                && !effect.kind.comes_first()
                && !is_overtaken(&record, &effect.kind)
        });
        let surplus = pending.len().saturating_sub(MAX_PENDING);
        pending.drain(..surplus);
        let events = events.into_iter().map(|mut event| {
            event.status = status;
            EffectKind::Event(event)
        });
        let effects = (effects.into_iter()).filter(|kind| !is_overtaken(&record, kind));
        let told = ended.and_then(|status| end_of(&record, status));
        let effects: Vec<EffectKind> = effects.chain(events).chain(told).collect();
        for kind in effects {
            pending.push(Effect {
                id: effect_id(epoch, &kind),
                task: author.driver.task.clone(),
                kind,
            });
        }
        record.pending = pending;
        record
    }
}

/// Which attempt came to an end when the workflow began to wait. Each ends once, so that no two timers of an entry have
/// the same number, and with it the same message id.
pub(crate) fn ended_attempt(record: &WorkflowRecord) -> u32 {
    let retries = record.wait.as_ref().is_some_and(|wait| wait.retry);
    record.attempt - u32::from(retries)
}

/// A timer of a wait that is over. The server keeps one timer for each workflow: it would take the place of a later one.
pub(crate) fn is_overtaken(record: &WorkflowRecord, kind: &EffectKind) -> bool {
    let EffectKind::Timer { entry, attempt, .. } = kind else {
        return false;
    };
    let timed = record
        .wait
        .as_ref()
        .is_some_and(|wait| wait.until.is_some());
    !timed || *entry != record.entry || *attempt != ended_attempt(record)
}

/// Unique in the workflow, since no two writes have the same epoch.
pub(crate) fn effect_id(epoch: u64, kind: &EffectKind) -> String {
    match kind {
        EffectKind::Event(event) => format!("{epoch}.{}", event.event.as_str()),
        EffectKind::Timer { .. } => format!("{epoch}.timer"),
        EffectKind::Checkpoint { name, .. } => format!("{epoch}.checkpoint.{name}"),
        EffectKind::DeleteCheckpoint { name } => format!("{epoch}.delete.{name}"),
        EffectKind::Answer { request, .. } => format!("{epoch}.answer.{request}"),
        EffectKind::StartChildren { .. } => format!("{epoch}.children"),
        EffectKind::StopChildren { .. } => format!("{epoch}.stop_children"),
        EffectKind::TellParent { .. } => format!("{epoch}.parent"),
        EffectKind::AwaitVersion { .. } => format!("{epoch}.version"),
        EffectKind::Bury { task, .. } => format!("{epoch}.bury.{}", task.id),
    }
}

/// What `change` says goes over what `data` says.
pub(super) fn merged(data: &Raw, change: &Raw) -> Raw {
    type Map = std::collections::BTreeMap<String, Raw>;
    let changes = change.decode::<Map>();
    if changes.as_ref().is_ok_and(Map::is_empty) {
        // No change, whatever the data are.
        return data.clone();
    }
    let (Ok(mut all), Ok(changes)) = (data.decode::<Map>(), changes) else {
        return change.clone();
    };
    all.extend(changes);
    Raw::encode(&all).unwrap_or_else(|_| change.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::merged;
    use mcp_runtime::Raw;

    #[test]
    fn data_is_merged_by_its_keys() {
        let check = |data: Value, change: Value, expected: Value| {
            let merged = merged(&Raw::encode(&data).unwrap(), &Raw::encode(&change).unwrap());
            assert_eq!(merged.decode::<Value>().unwrap(), expected);
        };
        check(
            json!({"a": 1, "b": 2}),
            json!({"b": 3, "c": [4]}),
            json!({"a": 1, "b": 3, "c": [4]}),
        );
        check(
            json!({"a": {"x": 1}}),
            json!({"a": {"y": 2}}),
            json!({"a": {"y": 2}}),
        );
        check(json!(7), json!({"a": 1}), json!({"a": 1}));
        check(json!({"a": 1}), json!("text"), json!("text"));
        check(json!("text"), json!({}), json!("text"));
    }
}
