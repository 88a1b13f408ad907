//! The order in which things happen, and what must hold after each of them.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    message::McpError,
    outcome::{Found, OutcomeRecord, OutcomeState},
    receive::once::decision::{Action, Asking, Conclusion, conclude},
};

use super::{
    store::{LEASE_MS, Store},
    worker::{At, Held, Work, Worker},
};

/// The stream delivers again what was not acknowledged for so long.
const ACK_WAIT_MS: u64 = 10_000;

/// The longest step of time. With three deliveries at once nobody waits a second for its turn: a renewal may be late
/// by little more than that before it is taken for silence.
const STEP_MS: u64 = 150;

/// A schedule that takes more steps than this is one that never ends.
const MOST_STEPS: usize = 20_000;

/// What happened, added up: a schedule in which nothing happens shows nothing.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) replays: u64,
    pub(super) crashes: u64,
    pub(super) stops: u64,
    pub(super) lost_acks: u64,
    pub(super) failures: u64,
    pub(super) second_executions: u64,
    pub(super) overtaken: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.replays += other.replays;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.lost_acks += other.lost_acks;
        self.failures += other.failures;
        self.second_executions += other.second_executions;
        self.overtaken += other.overtaken;
    }
}

/// A message with the key.
#[derive(Debug)]
struct Message {
    acknowledged: bool,
    visible_at: u64,
    deliveries: u64,
}

/// An execution that has begun.
#[derive(Debug)]
struct Execution {
    worker: usize,
    life: u64,
    /// Its process can act, as far as it knows, and it has neither ended nor been overtaken.
    running: bool,
    disturbed: bool,
}

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    dice: StdRng,
    pub(super) now: u64,
    epoch: Instant,
    steps: usize,
    store: Store,
    messages: Vec<Message>,
    workers: Vec<Worker>,
    work: Vec<Work>,
    executions: Vec<Execution>,
    /// The messages that were answered.
    answered: BTreeSet<usize>,
    /// The success that stands.
    outcome: Option<String>,
    failures_left: u64,
    faults_left: u64,
    pub(super) impatient: bool,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let messages = (0..dice.random_range(1..4)).map(|_| Message {
            acknowledged: false,
            visible_at: dice.random_range(0..3_000),
            deliveries: 0,
        });
        Self {
            messages: messages.collect(),
            workers: (0..3)
                .map(|_| Worker {
                    life: 0,
                    stopped_until: 0,
                })
                .collect(),
            failures_left: dice.random_range(0..3),
            faults_left: dice.random_range(0..5),
            seed,
            dice,
            now: 0,
            epoch: Instant::now(),
            steps: 0,
            store: Store::default(),
            work: Vec::new(),
            executions: Vec::new(),
            answered: BTreeSet::new(),
            outcome: None,
            impatient: false,
            seen: Seen::default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.work.is_empty() && self.messages.iter().all(|message| message.acknowledged)
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < MOST_STEPS, "seed {}: it never ends", self.seed);
        self.now += self.dice.random_range(0..STEP_MS);
        if let Some(at) = (0..self.work.len()).find(|at| self.is_due(*at)) {
            return self.advance(at);
        }
        if self.faults_left > 0 && self.dice.random_ratio(1, 25) {
            self.faults_left -= 1;
            return self.fault();
        }
        if self.dice.random_ratio(1, 3) {
            return self.deliver();
        }
        if !self.work.is_empty() {
            let at = self.dice.random_range(0..self.work.len());
            self.advance(at);
        }
    }

    fn fault(&mut self) {
        let worker = self.dice.random_range(0..self.workers.len());
        match self.dice.random_range(0..3) {
            0 => self.crash(worker),
            1 => {
                self.seen.stops += 1;
                let time = self.dice.random_range(1_000..25_000);
                self.workers[worker].stopped_until = self.now + time;
                self.disturb(worker);
            }
            // A server that restarts delivers again what somebody works on.
            _ => {
                for message in &mut self.messages {
                    message.visible_at = message.visible_at.min(self.now);
                }
            }
        }
    }

    fn crash(&mut self, worker: usize) {
        self.seen.crashes += 1;
        self.disturb(worker);
        self.workers[worker].life += 1;
        self.work.retain(|work| work.worker != worker);
        let gone = self.executions.iter_mut();
        gone.filter(|execution| execution.worker == worker)
            .for_each(|execution| execution.running = false);
    }

    fn disturb(&mut self, worker: usize) {
        let life = self.workers[worker].life;
        for execution in &mut self.executions {
            execution.disturbed |= execution.worker == worker && execution.life == life;
        }
    }

    fn deliver(&mut self) {
        let ready = |message: &Message| !message.acknowledged && message.visible_at <= self.now;
        let ready = (0..self.messages.len()).find(|at| ready(&self.messages[*at]));
        let worker = self.dice.random_range(0..self.workers.len());
        let Some(message) = ready.filter(|_| self.is_awake(worker)) else {
            return;
        };
        self.messages[message].visible_at = self.now + ACK_WAIT_MS;
        self.messages[message].deliveries += 1;
        // Within one process one delivery at a time has a key, the others wait for it: here they come again.
        if self.work.iter().any(|work| work.worker == worker) {
            return;
        }
        self.work.push(Work {
            message,
            worker,
            delivery: self.messages[message].deliveries,
            acted_at: self.now,
            looks: Default::default(),
            at: At::Decide {
                found: Found::default(),
            },
        });
    }

    fn is_awake(&self, worker: usize) -> bool {
        self.workers[worker].stopped_until <= self.now
    }

    /// Whoever is awake acts within a while: a process that does not is a stopped one.
    fn is_due(&self, at: usize) -> bool {
        let work = &self.work[at];
        self.is_awake(work.worker) && self.now >= work.acted_at + STEP_MS
    }

    fn advance(&mut self, at: usize) {
        if !self.is_awake(self.work[at].worker) {
            return;
        }
        let mut work = self.work.swap_remove(at);
        work.acted_at = self.now;
        if let Some(next) = self.next(&mut work) {
            work.at = next;
            self.work.push(work);
        }
    }

    /// `None`: the delivery is over for this process.
    fn next(&mut self, work: &mut Work) -> Option<At> {
        let at = std::mem::replace(&mut work.at, At::Look { not_before: 0 });
        // A process keeps the lease on its message while it works, and loses it while it is stopped.
        let newest = self.messages[work.message].deliveries == work.delivery;
        if newest && !matches!(at, At::Acknowledge { .. }) {
            self.messages[work.message].visible_at = self.now + ACK_WAIT_MS;
        }
        match at {
            At::Look { not_before } if not_before > self.now => Some(At::Look { not_before }),
            At::Look { .. } => Some(At::Decide {
                found: self.store.read(self.now),
            }),
            At::Decide { found } => self.decide(work, &found),
            At::Reserve { revision, record } => Some(self.reserve(work, revision, record)),
            At::Run {
                held,
                until,
                renew_at,
            } => self.run(held, until, renew_at),
            At::Write { held } => self.write(work, &held),
            At::Acknowledge { again_at } => {
                let message = &mut self.messages[work.message];
                match again_at {
                    Some(again_at) => message.visible_at = again_at,
                    None => message.acknowledged = true,
                }
                None
            }
        }
    }

    fn decide(&mut self, work: &mut Work, found: &Found) -> Option<At> {
        let instance = self.workers[work.worker].instance(work.worker);
        let command_id = format!("command_{}", work.message);
        let asking = Asking {
            sequence: work.message as u64 + 1,
            command_id: &command_id,
            parameters_sha256: "same",
            instance: &instance,
        };
        let now = self.epoch + Duration::from_millis(self.now);
        let mut action = work.looks.decide(found, &asking, now);
        if self.impatient && action == Action::Wait {
            action = Action::Take;
        }
        match action {
            Action::Conflict => panic!("seed {}: the parameters are the same", self.seed),
            Action::Wait => Some(At::Look {
                not_before: self.now + 1_000,
            }),
            Action::Replay => {
                self.seen.replays += 1;
                let record = found.record.clone().expect("only a record is replayed");
                self.answer(work.message, &record, found.released);
                Some(At::Acknowledge { again_at: None })
            }
            Action::Take => {
                let record = OutcomeRecord {
                    state: OutcomeState::Reserved,
                    command_id: command_id.clone(),
                    parameters_sha256: "same".to_owned(),
                    errors: work.looks.errors(found),
                    owner: instance.clone(),
                    response: None,
                    sequence: asking.sequence,
                };
                Some(At::Reserve {
                    revision: found.revision,
                    record,
                })
            }
        }
    }

    fn reserve(&mut self, work: &Work, revision: u64, record: OutcomeRecord) -> At {
        match self.put(revision, &record, false) {
            None => At::Look { not_before: 0 },
            Some(revision) => {
                let execution = self.begin(work.worker);
                let time = self.dice.random_range(0..12_000);
                At::Run {
                    held: Held {
                        revision,
                        record,
                        execution,
                    },
                    until: self.now + time,
                    renew_at: self.now + LEASE_MS / 3,
                }
            }
        }
    }

    fn begin(&mut self, worker: usize) -> u64 {
        for other in &self.executions {
            let acts = other.running && !other.disturbed;
            assert!(
                !acts,
                "seed {}: two undisturbed executions at the same time: {other:?}",
                self.seed
            );
        }
        self.seen.second_executions += u64::from(!self.executions.is_empty());
        self.executions.push(Execution {
            worker,
            life: self.workers[worker].life,
            running: true,
            disturbed: false,
        });
        self.executions.len() as u64 - 1
    }

    fn run(&mut self, mut held: Held, until: u64, renew_at: u64) -> Option<At> {
        if self.now >= renew_at {
            let record = held.record.clone();
            let Some(revision) = self.overwrite(&held, &record, false) else {
                // Overtaken: the execution is abandoned, its message comes again.
                self.seen.overtaken += 1;
                self.end(&held);
                return None;
            };
            held.revision = revision;
            return Some(At::Run {
                held,
                until,
                renew_at: self.now + LEASE_MS / 3,
            });
        }
        Some(match self.now >= until {
            true => At::Write { held },
            false => At::Run {
                held,
                until,
                renew_at,
            },
        })
    }

    fn write(&mut self, work: &Work, held: &Held) -> Option<At> {
        let fails = self.failures_left > 0 && self.dice.random_ratio(1, 2);
        let conclusion = conclude(fails, self.dice.random(), true);
        let mut record = held.record.clone();
        if fails {
            self.failures_left -= 1;
            self.seen.failures += 1;
            record.errors.push(McpError::temporary("BUSY"));
        }
        record.state = match conclusion {
            Conclusion::Failing => OutcomeState::Failing,
            Conclusion::Done | Conclusion::Released => OutcomeState::Done,
        };
        let released = conclusion == Conclusion::Released;
        self.end(held);
        // What is not written is not answered.
        if self.overwrite(held, &record, released).is_none() {
            self.seen.overtaken += 1;
            return None;
        }
        if conclusion == Conclusion::Failing {
            return Some(At::Acknowledge {
                again_at: Some(self.now + 500),
            });
        }
        self.answer(work.message, &record, released);
        Some(At::Acknowledge { again_at: None })
    }

    fn end(&mut self, held: &Held) {
        let place = usize::try_from(held.execution).expect("a small number");
        self.executions[place].running = false;
    }

    /// As the bucket does: our own reservation, wherever it has got to.
    fn overwrite(&mut self, held: &Held, record: &OutcomeRecord, released: bool) -> Option<u64> {
        if let Some(revision) = self.put(held.revision, record, released) {
            return Some(revision);
        }
        let found = self.store.read(self.now);
        match found.is_still(&held.record) {
            true => self.put(found.revision, record, released),
            false => None,
        }
    }

    /// As the bucket does: a write whose acknowledgement was lost is sent again, and meets itself.
    fn put(&mut self, revision: u64, record: &OutcomeRecord, released: bool) -> Option<u64> {
        let write = |world: &mut Self| {
            let record = record.clone();
            world.store.write(world.now, revision, record, released)
        };
        let mut written = write(self);
        if written.is_some() && self.dice.random_ratio(1, 10) {
            self.seen.lost_acks += 1;
            written = write(self);
        }
        written.or_else(|| {
            let found = self.store.read(self.now);
            let same = found
                .record
                .is_some_and(|under| under.is_same_write(record));
            same.then_some(found.revision)
        })
    }

    /// Whoever is told of a success is told of the same one.
    fn answer(&mut self, message: usize, record: &OutcomeRecord, released: bool) {
        self.answered.insert(message);
        if released {
            return;
        }
        let told = format!("{} {} {}", record.owner, record.command_id, record.sequence);
        let first = self.outcome.get_or_insert_with(|| told.clone());
        assert_eq!(*first, told, "seed {}: two outcomes", self.seed);
    }

    /// Everything was answered, and each execution beyond the first has a reason.
    pub(super) fn check_the_end(&self) {
        for message in 0..self.messages.len() {
            assert!(
                self.answered.contains(&message),
                "seed {}: message {message} was acknowledged without an answer",
                self.seed
            );
        }
        let disturbed = self.executions.iter().filter(|one| one.disturbed).count() as u64;
        let reasons = 1 + disturbed + self.seen.failures + self.seen.overtaken;
        assert!(
            self.executions.len() as u64 <= reasons,
            "seed {}: {} executions, {reasons} reasons",
            self.seed,
            self.executions.len()
        );
    }
}
