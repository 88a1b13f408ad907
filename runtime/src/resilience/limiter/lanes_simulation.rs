//! The overload scenario in made-up time: senders with commands in all lanes, and an agent that picks by lane.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::resilience::lanes::{LANES, LaneScheduler, index};
use crate::resilience::start;

const TICK: Duration = Duration::from_millis(1);

/// One way between a sender and the target.
const WAY: Duration = Duration::from_millis(2);

/// How long a caller waits for everything together.
const TIMEOUT: Duration = Duration::from_secs(5);

struct Command {
    sender: usize,
    lane: Priority,
    /// When the caller asked for it.
    asked: Instant,
    /// When the limiter let it go.
    left: Instant,
}

/// One that waits for the limiter.
struct Waiting {
    ticket: Ticket,
    asked: Instant,
    give_up: Instant,
}

#[derive(Default)]
struct Lane {
    took: Vec<Duration>,
    refused: u32,
    timed_out: u32,
}

impl Lane {
    fn share(&self) -> f64 {
        let all = self.took.len() as u32 + self.refused + self.timed_out;
        self.took.len() as f64 / f64::from(all.max(1))
    }

    fn percentile(&self, part: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let place = (took.len() as f64 * part) as usize;
        took.get(place).or(took.last()).copied().unwrap_or_default()
    }
}

struct World {
    capacity: usize,
    /// Commands a second, by sender.
    offered: f64,
    senders: Vec<RateLimiter>,
    waiting: Vec<[VecDeque<Waiting>; 4]>,
    queued: [VecDeque<Command>; 4],
    scheduler: LaneScheduler,
    running: Vec<(Instant, Command)>,
    waits: VecDeque<(Instant, Duration)>,
    lanes: [Lane; 4],
    by_sender: Vec<u32>,
    now: Instant,
    random: StdRng,
}

impl World {
    fn new(capacity: usize, times: f64, seed: u64) -> Self {
        let senders = 4;
        Self {
            capacity,
            offered: times * capacity as f64 / 0.05 / senders as f64,
            senders: (0..senders).map(|_| RateLimiter::default()).collect(),
            waiting: (0..senders).map(|_| Default::default()).collect(),
            queued: Default::default(),
            scheduler: LaneScheduler::default(),
            running: Vec::new(),
            waits: VecDeque::new(),
            lanes: Default::default(),
            by_sender: vec![0; senders],
            now: start(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn run(&mut self, seconds: u32) {
        self.lanes = Default::default();
        self.by_sender.fill(0);
        for _ in 0..seconds * 1_000 {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += TICK;
        for sender in 0..self.senders.len() {
            self.arrive(sender);
            self.leave(sender);
        }
        self.finish();
        self.begin();
    }

    fn arrive(&mut self, sender: usize) {
        let mut due = self.offered * TICK.as_secs_f64();
        while due > 0.0 && self.random.random_bool(due.min(1.0)) {
            due -= 1.0;
            let lane = match self.random.random_range(0..10) {
                0 => Priority::Critical,
                1 | 2 => Priority::High,
                3..8 => Priority::Normal,
                _ => Priority::Low,
            };
            self.send(sender, lane);
        }
    }

    fn send(&mut self, sender: usize, lane: Priority) {
        let (now, limiter) = (self.now, self.senders[sender].clone());
        let mut queue = limiter.lock();
        if queue.take(lane, now).is_ok() {
            drop(queue);
            return self.receive(sender, lane, now);
        }
        let give_up = now + limiter.config.max_wait;
        match queue.join(lane, Arc::default(), give_up, now) {
            Err(_) => self.lanes[index(lane)].refused += 1,
            Ok(ticket) => self.waiting[sender][index(lane)].push_back(Waiting {
                ticket,
                asked: now,
                give_up,
            }),
        }
    }

    /// Lets those leave whose turn it is, and those give up whose patience is over.
    fn leave(&mut self, sender: usize) {
        let (now, limiter) = (self.now, self.senders[sender].clone());
        for lane in LANES {
            let waiting = &mut self.waiting[sender][index(lane)];
            while let Some(first) = waiting.front().filter(|first| now >= first.give_up) {
                limiter.lock().leave(first.ticket);
                self.lanes[index(lane)].refused += 1;
                waiting.pop_front();
            }
        }
        while let Some((lane, asked)) = LANES.iter().find_map(|&lane| {
            let waiting = &mut self.waiting[sender][index(lane)];
            let first = waiting.front()?;
            let turn = limiter.lock().turn(first.ticket, now);
            (turn == Turn::Now).then(|| (lane, waiting.pop_front().map(|first| first.asked)))
        }) {
            self.receive(sender, lane, asked.unwrap_or(now));
        }
    }

    fn receive(&mut self, sender: usize, lane: Priority, asked: Instant) {
        let left = self.now;
        self.queued[index(lane)].push_back(Command {
            sender,
            lane,
            asked,
            left,
        });
    }

    fn begin(&mut self) {
        let now = self.now;
        for (lane, queued) in self.queued.iter_mut().enumerate() {
            // Their callers have given up, and the target does not begin with them.
            while let Some(late) = queued.pop_front_if(|first| now >= first.asked + TIMEOUT) {
                self.lanes[lane].timed_out += 1;
                let latency = now - late.left;
                self.senders[late.sender].observe(late.lane, Signal::TimedOut, latency, now);
            }
        }
        while self.running.len() < self.capacity {
            let waiting = self.queued.each_ref().map(|lane| !lane.is_empty());
            let Some(lane) = self.scheduler.next(waiting) else {
                return;
            };
            let Some(command) =
                self.queued[index(lane)].pop_front_if(|first| now >= first.left + WAY)
            else {
                return;
            };
            self.waits.push_back((now, now - command.left));
            if self.waits.len() > 128 {
                self.waits.pop_front();
            }
            let takes = Duration::from_micros(self.random.random_range(50_000..53_000));
            self.running.push((now + takes, command));
        }
    }

    fn finish(&mut self) {
        let now = self.now;
        let ended: Vec<_> = self
            .running
            .extract_if(.., |(end, _)| *end + WAY <= now)
            .collect();
        for (place, (_, command)) in ended.iter().enumerate() {
            let running = self.running.len() + ended.len() - place;
            let limiter = &self.senders[command.sender];
            limiter.observe(command.lane, Signal::Done, now - command.left, now);
            limiter.observe_load(self.load(running), now);
            self.lanes[index(command.lane)]
                .took
                .push(now - command.asked);
            self.by_sender[command.sender] += 1;
        }
    }

    fn load(&self, running: usize) -> LoadReport {
        let recent = self
            .waits
            .iter()
            .filter(|(at, _)| self.now - *at < Duration::from_secs(1));
        let mut waits: Vec<Duration> = recent.map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        LoadReport {
            capacity: self.capacity as u32,
            utilization: (running as f64 / self.capacity as f64).min(1.0),
            queue_wait_p95: waits
                .get(waits.len() * 95 / 100)
                .copied()
                .unwrap_or_default(),
        }
    }

    fn done(&self) -> usize {
        self.lanes.iter().map(|lane| lane.took.len()).sum()
    }

    /// Commands a second that the target can do, with the way of their answers.
    fn possible(&self) -> f64 {
        self.capacity as f64 / (0.0515 + WAY.as_secs_f64())
    }
}

/// What the scenario brought from second 5 on, and how many commands timed out from its beginning.
fn overloaded(seed: u64) -> (World, u32) {
    let mut world = World::new(8, 5.0, seed);
    world.run(5);
    let flooded: u32 = world.lanes.iter().map(|lane| lane.timed_out).sum();
    world.run(25);
    let later: u32 = world.lanes.iter().map(|lane| lane.timed_out).sum();
    (world, flooded + later)
}

#[test]
fn critical_commands_pass_in_a_long_overload() {
    for seed in 0..9 {
        let (world, timed_out) = overloaded(seed);
        let [first, .., last] = &world.lanes;
        println!(
            "{seed}: done {} by {:?}, critical {:.1} % p99 {:?}, timed out {timed_out}",
            world.done(),
            world.by_sender,
            first.share() * 100.0,
            first.percentile(0.99),
        );
        assert!(world.done() as f64 >= 0.9 * 25.0 * world.possible());
        assert!(first.share() > 0.99 && !last.took.is_empty());
        assert!(timed_out <= 100, "the first second's flood");
        let fair = world.done() as u32 / 4;
        assert!(world.by_sender.iter().all(|&done| done >= fair / 2));
        // The idle ones take 57 ms.
        assert!(first.percentile(0.99) < 3 * Duration::from_millis(57));
    }
}
