//! Limiters of several senders against a target, in made-up time: does the rate follow what the target can do?

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::resilience::start;

const TICK: Duration = Duration::from_millis(1);

/// What a target does with a command when it is full.
#[derive(Debug, Clone, Copy, PartialEq)]
enum WhenFull {
    /// It answers `OVERLOADED`, as for realtime commands.
    Refuses,
    /// The command queues, as durable ones do; the load in the replies tells.
    Queues,
}

struct Command {
    sender: usize,
    sent: Instant,
}

/// Senders that each have `offered` commands a second, and a target of `capacity` handlers that take about 50 ms.
struct World {
    when_full: WhenFull,
    capacity: usize,
    offered: f64,
    /// What the last sender offers, where it is another.
    last_offers: Option<f64>,
    senders: Vec<RateLimiter>,
    waiting: VecDeque<Command>,
    running: Vec<(Instant, Command)>,
    queue_wait: Duration,
    now: Instant,
    random: StdRng,
}

/// What each sender got done and sent, per second.
struct Rates {
    done: Vec<f64>,
    sent: f64,
}

impl Rates {
    fn done(&self) -> f64 {
        self.done.iter().sum()
    }
}

impl World {
    fn new(when_full: WhenFull, senders: usize, offered: f64) -> Self {
        Self {
            when_full,
            capacity: 8,
            offered,
            last_offers: None,
            senders: (0..senders).map(|_| RateLimiter::default()).collect(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            queue_wait: Duration::ZERO,
            now: start(),
            random: StdRng::seed_from_u64(7),
        }
    }

    /// Commands a second that the target can do.
    fn possible(&self) -> f64 {
        self.capacity as f64 / 0.050
    }

    fn run(&mut self, seconds: u32) -> Rates {
        let mut done = vec![0.0; self.senders.len()];
        let mut sent = 0.0;
        for _ in 0..seconds * 1_000 {
            self.now += TICK;
            sent += self.send();
            self.finish(&mut done);
            self.start_waiting();
        }
        let per_second = |count: f64| count / f64::from(seconds);
        Rates {
            done: done.into_iter().map(per_second).collect(),
            sent: per_second(sent),
        }
    }

    fn send(&mut self) -> f64 {
        let mut sent = 0.0;
        for sender in 0..self.senders.len() {
            let is_last = sender + 1 == self.senders.len();
            let other = self.last_offers.filter(|_| is_last);
            let mut due = other.unwrap_or(self.offered) * TICK.as_secs_f64();
            while due > 0.0 && self.random.random_bool(due.min(1.0)) {
                due -= 1.0;
                if self.senders[sender]
                    .try_acquire(Priority::Normal, self.now)
                    .is_ok()
                {
                    sent += 1.0;
                    self.receive(sender);
                }
            }
        }
        sent
    }

    fn receive(&mut self, sender: usize) {
        // Half the capacity may wait for a moment. Without that room chance collisions alone would refuse a fifth of what
        // a target could do, and no rate could prevent it.
        let full = self.running.len() + self.waiting.len() >= self.capacity * 3 / 2;
        if full && self.when_full == WhenFull::Refuses {
            self.senders[sender].observe(Priority::Normal, Signal::PushedBack, TICK, self.now);
        } else {
            let sent = self.now;
            self.waiting.push_back(Command { sender, sent });
            self.start_waiting();
        }
    }

    fn start_waiting(&mut self) {
        while self.running.len() < self.capacity {
            let Some(command) = self.waiting.pop_front() else {
                return;
            };
            self.queue_wait = self.now - command.sent;
            let takes = Duration::from_micros(self.random.random_range(40_000..60_000));
            self.running.push((self.now + takes, command));
        }
    }

    fn finish(&mut self, done: &mut [f64]) {
        let now = self.now;
        let report = LoadReport {
            capacity: self.capacity as u32,
            utilization: (self.running.len() as f64 / self.capacity as f64).min(1.0),
            queue_wait_p95: self.queue_wait,
        };
        for (_, command) in self.running.extract_if(.., |(end, _)| *end <= now) {
            let limiter = &self.senders[command.sender];
            limiter.observe(Priority::Normal, Signal::Done, now - command.sent, now);
            limiter.observe_load(report, now);
            done[command.sender] += 1.0;
        }
    }
}

#[test]
fn an_idle_target_is_never_limited() {
    for when_full in [WhenFull::Refuses, WhenFull::Queues] {
        let mut world = World::new(when_full, 4, 5.0);
        let rates = world.run(20);
        assert!((rates.sent - 20.0).abs() < 3.0);
        assert!(
            world
                .senders
                .iter()
                .all(|s| s.snapshot(world.now).limit.is_none())
        );
    }
}

#[test]
fn five_times_too_much_leaves_goodput_above_nine_tenths_and_shares_fair() {
    for when_full in [WhenFull::Refuses, WhenFull::Queues] {
        let mut world = World::new(when_full, 4, 200.0);
        world.run(5);
        let rates = world.run(30);
        let possible = world.possible();
        println!(
            "{when_full:?}: sent {:.0}, done {:.0?} of {possible}",
            rates.sent, rates.done
        );
        assert!(rates.done() >= 0.9 * possible);
        assert!(rates.sent <= 1.35 * possible);
        assert!(rates.done.iter().all(|&done| done >= 0.5 * possible / 4.0));
    }
}

#[test]
fn the_rate_follows_a_changed_capacity_within_five_seconds() {
    for when_full in [WhenFull::Refuses, WhenFull::Queues] {
        for capacity in [16, 4] {
            let mut world = World::new(when_full, 4, 200.0);
            world.run(15);
            world.capacity = capacity;
            world.run(5);
            let rates = world.run(5);
            let possible = world.possible();
            println!(
                "{when_full:?} {capacity}: sent {:.0}, done {:.0} of {possible}",
                rates.sent,
                rates.done()
            );
            assert!(rates.done() >= 0.9 * possible);
            assert!(rates.sent <= 1.35 * possible);
        }
    }
}

#[test]
fn a_late_comer_gets_its_share() {
    let mut world = World::new(WhenFull::Queues, 3, 200.0);
    world.run(15);
    world.senders.push(RateLimiter::default());
    world.run(10);
    let rates = world.run(20);
    println!("{:.0?} of {}", rates.done, world.possible());
    let fair = world.possible() / 4.0;
    assert!(rates.done.iter().all(|&done| done >= 0.5 * fair));
}

#[test]
fn a_small_sender_is_not_throttled_for_what_others_do() {
    let mut world = World::new(WhenFull::Queues, 4, 200.0);
    world.last_offers = Some(4.0);
    world.run(5);
    let rates = world.run(30);
    println!("{:.1?} of {}", rates.done, world.possible());
    assert!(rates.done[3] >= 0.9 * 4.0, "{:?}", rates.done);
    assert!(rates.done() >= 0.9 * world.possible());
}
