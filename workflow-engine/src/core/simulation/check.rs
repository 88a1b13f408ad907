//! The checker: what must hold after each write, at each acknowledgement and in the end.

use std::collections::{HashMap, HashSet};

use mcp_runtime::McpError;

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::draft::is_overtaken,
    effect::{Effect, EffectKind, EventEffect, Happening, MAX_PENDING},
    record::{
        CompensationProgress, CompensationStep, HistoryEntry, MAX_HISTORY, MAX_TAKEN,
        WorkflowRecord, WorkflowStatus,
    },
    task::{Task, Verb},
};

use super::{Seen, world::Store};

/// Everything that was sent, written, done and answered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) sent: HashMap<String, Task>,
    pub(super) brought_about: HashSet<String>,
    effects: HashMap<String, Vec<Effect>>,
    answers: HashMap<String, Vec<Option<String>>>,
    taken: HashSet<String>,
    runs: HashMap<(u64, u32), usize>,
}

impl Ledger {
    pub(super) fn answer(&mut self, task: &str, error: Option<&McpError>) {
        let code = error.map(|error| error.code.clone());
        self.answers.entry(task.to_owned()).or_default().push(code);
    }

    pub(super) fn ran(&mut self, entry: u64, attempt: u32) {
        *self.runs.entry((entry, attempt)).or_default() += 1;
    }

    pub(super) fn is_refused(&self, task: &str) -> bool {
        self.answers
            .get(task)
            .is_some_and(|all| all.iter().any(Option::is_some))
    }

    pub(super) fn refused_with(&self, code: &str) -> u64 {
        let all = self.answers.values().flatten();
        all.filter(|found| found.as_deref() == Some(code)).count() as u64
    }

    /// A compare-and-set that succeeds.
    pub(super) fn written(
        &mut self,
        store: &Store,
        record: &WorkflowRecord,
        author: (&str, u64),
        seen: &mut Seen,
    ) {
        let known = store.record();
        let epoch = known.map_or(0, |known| known.epoch);
        assert_eq!(record.epoch, epoch + 1, "an epoch is a write");
        check_shape(record);
        if let Some(known) = known {
            check_rights(known, record, author);
            self.check_pending(known, record);
            check_compensation(known, record, seen);
            check_progress(known, record);
            check_early_signals(known, record);
            assert!(record.entry >= known.entry);
            seen.takeovers += u64::from(record.takeovers > known.takeovers);
            seen.appended += u64::from(record.inbox.len() > known.inbox.len());
        }
        let history = new_history(known, record);
        check_line(known, record, history);
        let effects = self.new_effects(record, author.0);
        check_told(record, &effects);
        self.check_taken(record, &effects, history);
    }

    /// What a write no longer lists is done, or no longer wanted.
    fn check_pending(&self, known: &WorkflowRecord, record: &WorkflowRecord) {
        for effect in &known.pending {
            let kept = record.pending.iter().any(|kept| kept.id == effect.id);
            let done = self.brought_about.contains(&effect.id);
            let gone = done || is_overtaken(record, &effect.kind);
            assert!(kept || gone, "{effect:?} is forgotten in {record:#?}");
            if effect.kind.comes_first() && !done {
                let same = known.data == record.data && known.state == record.state;
                assert!(same, "{effect:?} copies what is written over: {record:#?}");
            }
        }
    }

    fn new_effects(&mut self, record: &WorkflowRecord, author: &str) -> Vec<Effect> {
        let own = format!("{}.", record.epoch);
        let new = record
            .pending
            .iter()
            .filter(|effect| effect.id.starts_with(&own));
        let new: Vec<Effect> = new.cloned().collect();
        let ids: HashSet<&str> = new.iter().map(|effect| effect.id.as_str()).collect();
        assert_eq!(ids.len(), new.len(), "two effects have one id: {new:#?}");
        for effect in &new {
            // The first write may be somebody else's, on behalf of the start.
            assert!(
                effect.task == author || record.epoch == 1,
                "{effect:?} by {author}"
            );
            self.effects
                .entry(effect.task.clone())
                .or_default()
                .push(effect.clone());
        }
        new
    }

    /// Each task that is taken in does what it is for, once.
    fn check_taken(
        &mut self,
        record: &WorkflowRecord,
        effects: &[Effect],
        history: &[HistoryEntry],
    ) {
        let mut wanted: HashMap<Happening, usize> = HashMap::new();
        let mut moves = 0;
        for id in &record.taken {
            if !self.taken.insert(id.clone()) {
                continue;
            }
            let Some(task) = self.sent.get(id) else {
                continue;
            };
            let refused = |effect: &Effect| matches!(&effect.kind, EffectKind::Answer { request, error: Some(_), .. } if request == id);
            // Of one that came by the inbox and wants no answer nobody can tell.
            if task.reply_to.is_none() || effects.iter().any(refused) {
                continue;
            }
            if task.stops_at_once() {
                check_children_stopped(record, effects);
            }
            match task.task {
                Verb::Stop if task.compensate => check_undone(record),
                Verb::Stop => *wanted.entry(Happening::Stopped).or_default() += 1,
                Verb::Checkpoint => *wanted.entry(Happening::Checkpointed).or_default() += 1,
                Verb::Restore => *wanted.entry(Happening::Restored).or_default() += 1,
                Verb::Transition => moves += 1,
                Verb::Signal => check_signal(task, record, history),
                _ => {}
            }
        }
        for (event, count) in wanted {
            let found = effects
                .iter()
                .filter(|effect| is_event(effect, event))
                .count();
            assert!(found >= count, "{count} × {event:?} in {record:#?}");
        }
        let moved = history
            .iter()
            .filter(|entry| entry.trigger == "transition")
            .count();
        assert!(moved >= moves, "{moves} transitions in {record:#?}");
    }

    /// Everything that the task's writes list is done before it leaves the queue.
    pub(super) fn check_acknowledged(&self, store: &Store, task: &str) {
        for effect in self.effects.get(task).into_iter().flatten() {
            let record = store.record().expect("something was written");
            let done =
                self.brought_about.contains(&effect.id) || is_overtaken(record, &effect.kind);
            assert!(done, "{task} is acknowledged without {effect:?}");
        }
    }

    pub(super) fn check_checkpoint(&self, store: &Store, copy: &WorkflowCheckpoint) {
        let at = usize::try_from(copy.epoch - 1).expect("a small number");
        let record = &store.writes[at];
        assert_eq!(record.epoch, copy.epoch);
        assert_eq!(record.state, copy.state, "the state of {copy:?}");
        assert_eq!(record.data, copy.data, "the data of {copy:?}");
    }

    pub(super) fn check_the_end(
        &self,
        store: &Store,
        faults: usize,
        events: &HashMap<String, EventEffect>,
    ) {
        for (id, task) in &self.sent {
            let answers = self.answers.get(id).map_or(&[][..], Vec::as_slice);
            let refused = answers.iter().any(Option::is_some);
            let accepted = answers.iter().any(Option::is_none);
            let taken = self.taken.contains(id);
            // Whoever asks for what is under way has it, and nothing is written about that.
            let undone = || {
                store
                    .writes
                    .iter()
                    .any(|write| write.compensates().is_some())
            };
            let no_matter = (task.task == Verb::Migrate && accepted)
                || (task.task == Verb::Stop && task.compensate && undone());
            assert!(taken || refused || no_matter, "{task:?} is lost");
            // Refused, the acknowledgement lost, and accepted when it came again: nothing is written about a refusal.
            assert!(
                !(refused && accepted) || faults > 0,
                "{id} was told both: {answers:?}"
            );
            let told = answers.is_empty() && task.reply_to.is_some();
            assert!(!told, "{task:?} was never answered");
        }
        // A sleeper that wakes doubles the start's first run, which is not yet in the record, and the run that it is in
        // when it is replaced.
        let again: usize = self.runs.values().map(|runs| runs - 1).sum();
        assert!(
            again <= 2 * faults,
            "{again} runs too many after {faults} faults"
        );
        for effect in self.effects.values().flatten() {
            if let EffectKind::Event(event) = &effect.kind {
                let id = format!("w.{}.{}", event.epoch, event.event.as_str());
                assert!(events.contains_key(&id), "{id} was never published");
            }
        }
        assert!(
            store
                .writes
                .iter()
                .enumerate()
                .all(|(at, write)| write.epoch == at as u64 + 1)
        );
    }
}

fn is_event(effect: &Effect, wanted: Happening) -> bool {
    matches!(&effect.kind, EffectKind::Event(event) if event.event == wanted)
}

fn check_shape(record: &WorkflowRecord) {
    let status = record.status;
    let driven = record.driver.is_some();
    let may_be_driven = matches!(status, WorkflowStatus::Running | WorkflowStatus::Stopped);
    assert!(
        !driven || may_be_driven,
        "a {status} workflow is driven: {record:#?}"
    );
    assert!(
        driven || status != WorkflowStatus::Running,
        "nobody runs it: {record:#?}"
    );
    let rests = driven || status == WorkflowStatus::Parked;
    assert!(
        rests || record.inbox.is_empty(),
        "nobody reads the inbox: {record:#?}"
    );
    assert!(rests || record.rest.is_none(), "{record:#?}");
    assert!(record.taken.len() <= MAX_TAKEN && record.history.len() <= MAX_HISTORY);
    assert!(record.pending.len() <= 2 * MAX_PENDING && record.inbox.len() <= 256);
    assert!(
        record.taken.iter().collect::<HashSet<_>>().len() == record.taken.len(),
        "{record:#?}"
    );
}

/// From the last to the first, each once; what is undone stays undone until a restore begins anew.
fn check_compensation(known: &WorkflowRecord, record: &WorkflowRecord, seen: &mut Seen) {
    let old = known.compensation.clone().unwrap_or_default();
    let new = record.compensation.clone().unwrap_or_default();
    let failed = record.status == WorkflowStatus::Failed;
    assert!(
        !failed || new.count(CompensationProgress::Left) == 0,
        "it has failed without undoing all: {record:#?}"
    );
    let restored =
        (new_history(Some(known), record).iter()).any(|entry| entry.trigger == "restore");
    let same = |at: usize| (&old.steps[at].state, old.steps[at].entry);
    for (at, step) in new.steps.iter().enumerate().take(old.steps.len()) {
        if restored {
            break;
        }
        assert_eq!((&step.state, step.entry), same(at), "{record:#?}");
        if step.progress == old.steps[at].progress {
            continue;
        }
        seen.compensated += 1;
        let was_done = old.steps[at].progress == CompensationProgress::Done;
        assert!(!was_done, "what was undone is undone again: {record:#?}");
        let ended = step.progress != CompensationProgress::Left;
        let later = &old.steps[at + 1..];
        let waits = |step: &CompensationStep| step.progress == CompensationProgress::Left;
        assert!(
            !(ended && later.iter().any(waits)),
            "out of turn: {record:#?}"
        );
    }
}

/// News are of the entry that runs, and what is done in it stays so.
fn check_progress(known: &WorkflowRecord, record: &WorkflowRecord) {
    let own = format!("{}.", record.entry);
    let mut all = record.progress.iter();
    assert!(all.all(|one| one.label.starts_with(&own)), "{record:#?}");
    let kept = record.entry != known.entry || record.progress.starts_with(&known.progress);
    assert!(kept, "what was done is forgotten: {known:#?} {record:#?}");
}

/// Whoever started it is told of its end, in the write that ends it; and only then.
fn check_told(record: &WorkflowRecord, effects: &[Effect]) {
    let told = effects.iter().find_map(|effect| match &effect.kind {
        EffectKind::TellParent { end, .. } => Some(end.status),
        _ => None,
    });
    let ends = [Happening::Completed, Happening::Failed, Happening::Stopped];
    let ended = ends
        .iter()
        .any(|end| effects.iter().any(|effect| is_event(effect, *end)));
    // A stop that waits in the inbox shows in the status of what still runs.
    let stands = match (record.rest, &record.driver) {
        (Some(rest), _) => rest,
        (None, Some(_)) => WorkflowStatus::Running,
        (None, None) => record.status,
    };
    let expected = (record.child_of.is_some() && ended && stands.is_ended()).then_some(stands);
    assert_eq!(told, expected, "{record:#?}");
}

/// A stop stops the children, too, but for those that are to outlive it.
fn check_children_stopped(record: &WorkflowRecord, effects: &[Effect]) {
    let mut left = record.children.iter();
    let left = left.any(|child| child.is_running() && !child.independent);
    let stops = |effect: &Effect| matches!(effect.kind, EffectKind::StopChildren { .. });
    assert!(!left || effects.iter().any(stops), "{record:#?}");
}

/// A stop with compensation has begun it, or found nothing to undo.
fn check_undone(record: &WorkflowRecord) {
    let stopped = |effect: &Effect| is_event(effect, Happening::Stopped);
    let begun = record
        .compensation
        .as_ref()
        .is_some_and(|c| c.ends_as.is_some() || c.has_begun());
    assert!(begun || record.pending.iter().any(stopped), "{record:#?}");
}

/// Who drives may write; others append, or take over what their own task drives, never from a later delivery.
fn check_rights(known: &WorkflowRecord, record: &WorkflowRecord, (task, number): (&str, u64)) {
    let Some(driver) = &known.driver else {
        return;
    };
    if driver.task == task {
        assert!(
            driver.delivery <= number,
            "{task}#{number} writes after it was replaced"
        );
        return;
    }
    let appended = WorkflowRecord {
        inbox: known.inbox.clone(),
        epoch: known.epoch,
        updated_at: known.updated_at,
        status: known.status,
        ..record.clone()
    };
    assert_eq!(
        appended, *known,
        "{task}#{number} writes what another drives"
    );
    assert!(record.inbox.starts_with(&known.inbox) && record.inbox.len() == known.inbox.len() + 1);
}

fn new_history<'a>(
    known: Option<&WorkflowRecord>,
    record: &'a WorkflowRecord,
) -> &'a [HistoryEntry] {
    &record.history[known
        .map_or(0, |known| known.history.len())
        .min(record.history.len())..]
}

/// One unbroken line, that nobody writes over.
fn check_line(known: Option<&WorkflowRecord>, record: &WorkflowRecord, new: &[HistoryEntry]) {
    for pair in record.history.windows(2) {
        assert_eq!(
            pair[0].to, pair[1].from,
            "the history is broken: {record:#?}"
        );
    }
    if let Some(last) = record.history.last() {
        assert_eq!(last.to, record.state, "{record:#?}");
    }
    let Some(known) = known else {
        return;
    };
    assert!(record.history.starts_with(&known.history), "{record:#?}");
    match new.first() {
        Some(first) => assert_eq!(first.from, known.state),
        None => assert_eq!(record.state, known.state),
    }
}

fn check_signal(task: &Task, record: &WorkflowRecord, history: &[HistoryEntry]) {
    let data = task.data.as_ref();
    let kept = record
        .signals
        .iter()
        .any(|signal| Some(&signal.data) == data);
    let received = (record.received.as_ref()).is_some_and(|signal| Some(&signal.data) == data);
    // It led on; or the state that it woke was left by the next task in the same write, or given up by a stop.
    let led_on = !history.is_empty() || record.compensates().is_some();
    assert!(
        kept || received || led_on,
        "{task:?} is lost in {record:#?}"
    );
}

/// An early signal goes away by being received; the state that received it may be left in the same write.
fn check_early_signals(known: &WorkflowRecord, record: &WorkflowRecord) {
    let moved = record.entry > known.entry;
    for signal in &known.signals {
        let kept = record.signals.contains(signal);
        let received = record.received.as_ref() == Some(signal);
        assert!(
            kept || received || moved,
            "{signal:?} is lost in {record:#?}"
        );
    }
}
