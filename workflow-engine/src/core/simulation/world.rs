//! What lies outside the engines: the bucket, the queue, the timer, the events, and the order in which things happen.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use mcp_runtime::Name;

use crate::{
    checkpoint::WorkflowCheckpoint,
    core::{Versioned, codes},
    effect::{Effect, EffectKind, EventEffect},
    record::{WorkflowRecord, WorkflowStatus},
    shape::{WorkflowEvents, WorkflowShape},
    task::{Task, Verb},
};

use super::{Dice, Seen, check::Ledger, client::Client, engine::Delivery, kids::Kids, script};

/// Faults of one simulation: fewer than it takes to be taken for poison.
const MAX_FAULTS: usize = 4;

/// The bucket: the record, and every write that it has seen.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) writes: Vec<WorkflowRecord>,
}

impl Store {
    pub(super) fn record(&self) -> Option<&WorkflowRecord> {
        self.writes.last()
    }

    pub(super) fn read(&self) -> Option<Box<Versioned>> {
        let record = Arc::new(self.record()?.clone());
        let revision = self.revision();
        Some(Box::new(Versioned { record, revision }))
    }

    pub(super) fn revision(&self) -> u64 {
        self.writes.len() as u64
    }
}

/// A message of the work queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) task: Task,
    pub(super) deliveries: u64,
    pub(super) visible_at: u64,
    /// Which delivery has it, while its lease lasts.
    pub(super) leased: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) shapes: Vec<Arc<WorkflowShape>>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) told: bool,
    pub(super) dice: Dice,
    pub(super) now_ms: u64,
    pub(super) store: Store,
    pub(super) checkpoints: BTreeMap<Name, (u64, Option<WorkflowCheckpoint>)>,
    pub(super) events: HashMap<String, EventEffect>,
    pub(super) timer: Option<(Task, u64)>,
    pub(super) timers_set: HashSet<String>,
    pub(super) queue: Vec<Queued>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) replicas: Vec<Replica>,
    pub(super) client: Client,
    pub(super) faults_left: usize,
    pub(super) faults: usize,
    wakes: usize,
    pub(super) kids: Kids,
    pub(super) ledger: Ledger,
    pub(super) seen: Seen,
    versions: Vec<Arc<WorkflowShape>>,
    /// Notes about parked workflows: the version that they wait for.
    notes: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, told: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9) ^ 0x5eed);
        let events = *dice.pick(&[WorkflowEvents::All, WorkflowEvents::Lifecycle]);
        let versions = vec![script::shape("1", events), script::shape("2", events)];
        let client = Client::new(&mut dice);
        let faults_left = dice.below(MAX_FAULTS + 1);
        let mut world = Self {
            seed,
            told,
            now_ms: 1_000,
            store: Store::default(),
            checkpoints: BTreeMap::new(),
            events: HashMap::new(),
            timer: None,
            timers_set: HashSet::new(),
            queue: Vec::new(),
            deliveries: Vec::new(),
            replicas: Vec::new(),
            client,
            faults_left,
            faults: 0,
            wakes: 0,
            kids: Kids::default(),
            ledger: Ledger::default(),
            seen: Seen::default(),
            versions,
            notes: Vec::new(),
            dice,
        };
        let rolling = world.dice.percent(30);
        for _ in 0..3 {
            let shapes = world.some_versions(rolling);
            world.replicas.push(Replica { shapes });
        }
        world
    }

    fn some_versions(&mut self, rolling: bool) -> Vec<Arc<WorkflowShape>> {
        match self.dice.below(3) {
            0 if rolling => self.versions[..1].to_vec(),
            1 if rolling => self.versions[1..].to_vec(),
            _ => self.versions.clone(),
        }
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{:>6} {}", self.now_ms, what());
        }
    }

    /// Nothing is left to do, and everything that could be sent was.
    pub(super) fn is_over(&mut self) -> bool {
        let quiet = self.client.plan.is_empty()
            && self.queue.is_empty()
            && self.deliveries.is_empty()
            && self.timer.is_none()
            && !self.kids.run();
        let parked =
            (self.store.record()).is_some_and(|record| record.status == WorkflowStatus::Parked);
        if quiet && parked {
            // The version that it lacked comes, and that alone must set it going.
            self.seen.parked += 1;
            let at = self.dice.below(self.replicas.len());
            self.replicas[at].shapes.clone_from(&self.versions);
            self.revive(at);
            assert!(!self.queue.is_empty(), "nobody ever wakes what is parked");
            return false;
        }
        quiet
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.seen.steps += 1;
        self.now_ms += 1 + self.dice.roll() % 40;
        let visible = self.visible();
        let may_sleep =
            visible.is_empty() && self.deliveries.is_empty() && self.client.plan.is_empty();
        match self.dice.below(20) {
            _ if may_sleep && self.kids.run() && self.dice.percent(50) => self.end_a_child(),
            _ if may_sleep => self.sleep(),
            11 if self.dice.percent(10) => self.end_a_child(),
            0..=1 => self.send(),
            2..=5 => self.deliver(&visible),
            6 if self.timer_is_due() => self.fire_timer(),
            6..=8 => self.confirm_one(),
            9 if self.faults_left > 0 && self.dice.percent(30) => self.fault(),
            10 if self.dice.percent(2) => self.roll_out(),
            _ => self.advance_one(),
        }
    }

    fn visible(&self) -> Vec<usize> {
        let visible = |queued: &Queued| queued.leased.is_none() && queued.visible_at <= self.now_ms;
        let queue = self.queue.iter().enumerate();
        queue
            .filter(|(_, queued)| visible(queued))
            .map(|(at, _)| at)
            .collect()
    }

    /// Nothing to do before the next message becomes visible or the timer is due.
    fn sleep(&mut self) {
        let queued = (self.queue.iter()).filter(|queued| queued.leased.is_none());
        let times = queued.map(|queued| queued.visible_at);
        let next = times.chain(self.timer.as_ref().map(|(_, at)| *at)).min();
        let Some(next) = next else {
            if self.kids.run() {
                return self.end_a_child();
            }
            panic!("nobody works, and nobody ever will: {:#?}", self.queue);
        };
        self.now_ms = self.now_ms.max(next);
        if self.timer_is_due() {
            self.fire_timer();
        }
    }

    fn send(&mut self) {
        let Some(task) = self.client.plan.pop() else {
            return;
        };
        self.tell(|| format!("client sends {:?} {}", task.task, task.id));
        self.ledger.sent.insert(task.id.clone(), task.clone());
        self.enqueue(task);
    }

    pub(super) fn enqueue(&mut self, task: Task) {
        self.queue.push(Queued {
            task,
            deliveries: 0,
            visible_at: 0,
            leased: None,
        });
    }

    fn timer_is_due(&self) -> bool {
        self.timer
            .as_ref()
            .is_some_and(|(_, at)| *at <= self.now_ms)
    }

    fn fire_timer(&mut self) {
        let Some((task, _)) = self.timer.take() else {
            return;
        };
        self.seen.timers += 1;
        self.tell(|| {
            format!(
                "timer fires: entry {:?} attempt {:?}",
                task.entry, task.attempt
            )
        });
        self.enqueue(task);
    }

    /// A replica comes back with other versions.
    fn roll_out(&mut self) {
        let shapes = self.some_versions(true);
        let at = self.dice.below(self.replicas.len());
        self.tell(|| format!("replica {at} now has {} versions", shapes.len()));
        self.replicas[at].shapes = shapes;
        self.revive(at);
    }

    /// What an engine does that brings versions: it wakes whatever is parked for want of them.
    fn revive(&mut self, at: usize) {
        let has = |version: &String| {
            let mut shapes = self.replicas[at].shapes.iter();
            shapes.any(|shape| shape.version == *version)
        };
        let wanted: Vec<String> = (self.notes.iter())
            .filter(|version| has(version))
            .cloned()
            .collect();
        let parked = |version: &String| {
            self.store.record().is_some_and(|record| {
                record.status == WorkflowStatus::Parked && record.version == *version
            })
        };
        if let Some(version) = wanted.into_iter().find(parked) {
            self.wake_parked(version);
        }
    }

    fn wake_parked(&mut self, version: String) {
        self.wakes += 1;
        let mut wake = Client::wake(&format!("w.parked.{}", self.wakes), 0);
        wake.version = Some(version);
        self.enqueue(wake);
    }

    /// The note comes first, then a look at who is there: who comes in between finds the note.
    fn await_version(&mut self, version: &str) {
        self.notes.push(version.to_owned());
        let mut shapes = self.replicas.iter().flat_map(|replica| &replica.shapes);
        if shapes.any(|shape| shape.version == version) {
            self.wake_parked(version.to_owned());
        }
    }

    /// What an effect does to the world; doing it twice does no harm.
    pub(super) fn bring_about(&mut self, effect: &Effect, record: &WorkflowRecord) {
        self.tell(|| format!("effect {} of {}", effect.id, effect.task));
        self.ledger.brought_about.insert(effect.id.clone());
        match &effect.kind {
            EffectKind::Event(event) => self.publish(event),
            EffectKind::Timer {
                entry,
                attempt,
                at_ms,
            } => self.set_timer(*entry, *attempt, *at_ms),
            EffectKind::Checkpoint { name, epoch } => {
                self.seen.checkpoints += 1;
                let copy = WorkflowCheckpoint::of(record, name, *epoch);
                self.ledger.check_checkpoint(&self.store, &copy);
                self.put_checkpoint(name, *epoch, Some(copy));
            }
            EffectKind::DeleteCheckpoint { name } => {
                self.put_checkpoint(name, effect.epoch(), None);
            }
            EffectKind::StartChildren { children } => self.kids.start(children),
            EffectKind::StopChildren { children, .. } => self.kids.stop(children),
            // Its parent is of no interest here; that it was told is checked.
            EffectKind::TellParent { .. } => {}
            EffectKind::AwaitVersion { version } => self.await_version(version),
            EffectKind::Bury { task, error } => self.ledger.answer(&task.id, Some(error)),
            EffectKind::Answer { request, error, .. } => {
                self.ledger.answer(request, error.as_ref());
            }
        }
    }

    /// A later one is not replaced by an earlier one that comes late: the shell has to see to that.
    fn put_checkpoint(&mut self, name: &Name, epoch: u64, copy: Option<WorkflowCheckpoint>) {
        let known = self.checkpoints.get(name).map_or(0, |(epoch, _)| *epoch);
        if epoch > known {
            self.checkpoints.insert(name.clone(), (epoch, copy));
        }
    }

    fn publish(&mut self, event: &EventEffect) {
        let id = format!("w.{}.{}", event.epoch, event.event.as_str());
        let first = self
            .events
            .entry(id.clone())
            .or_insert_with(|| event.clone());
        assert_eq!(first, event, "two events have the message id {id}");
    }

    /// One timer for each workflow, and a message id is taken only once.
    fn set_timer(&mut self, entry: u64, attempt: u32, at_ms: u64) {
        let id = format!("w.{entry}.{attempt}.wake");
        if !self.timers_set.insert(id.clone()) {
            return;
        }
        let mut wake = Client::wake(&id, entry);
        wake.attempt = Some(attempt);
        self.timer = Some((wake, at_ms));
    }

    pub(super) fn start_in_queue(&self) -> Option<Box<Task>> {
        let mut tasks = self.queue.iter().map(|queued| &queued.task);
        tasks
            .find(|task| task.task == Verb::Start)
            .cloned()
            .map(Box::new)
    }

    /// At the end the workflow has ended, or waits for somebody.
    pub(super) fn check_the_end(&mut self) {
        match self.store.record().cloned() {
            Some(record) => {
                self.seen.ended += u64::from(record.status.is_ended());
                self.seen.waiting += u64::from(record.status == WorkflowStatus::Waiting);
                assert!(
                    record.driver.is_none() && record.inbox.is_empty(),
                    "{record:#?}"
                );
                let rests = record.status.is_ended() || record.status == WorkflowStatus::Waiting;
                assert!(rests, "it should go on: {record:#?}");
                let timed = record
                    .wait
                    .as_ref()
                    .is_some_and(|wait| wait.until.is_some());
                assert!(!timed, "its timer was lost: {record:#?}");
            }
            None => assert!(self.ledger.is_refused("t0"), "the start was lost"),
        }
        self.check_the_kids();
        self.ledger
            .check_the_end(&self.store, self.faults, &self.events);
        self.seen.refused = self.ledger.refused_with(codes::WORKFLOW_ENDED);
    }
}
